"""A page of another site, in a real browser beside a lab that runs: it can do nothing, and the pages of the lab can."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from lab_pipeline_tests.support.markets import stock
from lab_pipeline_tests.support.running_lab import TOKEN, RunningLab

pytestmark = pytest.mark.long
# Of the lab's own accord there may be runs of statistics.
RUNS = 'query { runsOrError(filter: {pipelineName: "backtest"}) { ... on Runs { results { runId } } } }'
SELECTOR = '{repositoryName: "__repository__", repositoryLocationName: "lab_pipeline", jobName: "backtest"}'
CONFIG = json.dumps(json.dumps({"ops": {"run": {"config": {"strategy": "ladder", "timeframe": "1m"}}}}))
MUTATION = f"""mutation {{ launchRun(executionParams: {{
  selector: {SELECTOR}, mode: "default", runConfigData: {CONFIG}
}}) {{ __typename }} }}"""
WHAT_IT_TRIES = """async ([ui, api, mutation, run]) => {
  const told = {};
  const body = JSON.stringify({query: mutation});
  const inAddress = `${ui}/graphql?query=${encodeURIComponent(mutation)}`;
  const loaded = (kind, tag, attribute, address) => new Promise(done => {
    const element = document.createElement(tag);
    element.onload = () => { told[kind] = "loaded"; done(); };
    element.onerror = () => { told[kind] = "failed"; done(); };
    element[attribute] = address;
    document.body.append(element);
    setTimeout(done, 5000);
  });
  const sent = (kind, address, options) => fetch(address, options).then(
    answer => { told[kind] = answer.type + answer.status; }, () => { told[kind] = "failed"; });
  const posted = (address, type) => new Promise(done => {
    const frame = document.createElement("iframe");
    frame.name = `frame ${Math.random()}`;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, {action: address, method: "post", target: frame.name, enctype: type});
    const field = document.createElement("input");
    Object.assign(field, {name: body.slice(0, -1) + ', "x": "', value: '"}'});
    form.append(field);
    document.body.append(form);
    form.submit();
    setTimeout(done, 3000);
  });
  await loaded("picture", "img", "src", inAddress);
  await loaded("script", "script", "src", inAddress);
  await sent("simple GET", inAddress, {mode: "no-cors"});
  for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
    await sent(type, `${ui}/graphql`, {method: "POST", mode: "no-cors", body, headers: {"content-type": type}});
    await sent(`${type} in the address`, inAddress, {method: "POST", mode: "no-cors", body});
  }
  await sent("JSON", `${ui}/graphql`, {method: "POST", body, headers: {"content-type": "application/json"}});
  navigator.sendBeacon(`${ui}/graphql`, new Blob([body], {type: "text/plain; application/json"}));
  await posted(inAddress, "application/x-www-form-urlencoded");
  await posted(`${ui}/graphql`, "text/plain");
  await posted(inAddress, "multipart/form-data");
  await sent("retry", `${api}/runs/${run}/retry`, {method: "POST", mode: "no-cors"});
  await new Promise(done => {
    const socket = new WebSocket(`${ui.replace("http", "ws")}/graphql`, "graphql-ws");
    socket.onopen = () => { told.socket = "open"; done(); };
    socket.onerror = () => { told.socket = "failed"; done(); };
  });
  return told;
}"""


@contextmanager
def served():
    """An empty page on a port of its own."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><body></body>")

        def log_message(self, *_):
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def runs(lab):
    return {run["runId"] for run in lab.graphql(RUNS)["runsOrError"]["results"]}


def test_a_hostile_page_launches_nothing_and_the_labs_own_pages_work(browser, tmp_path, monkeypatch, clickhouse_url):
    monkeypatch.setenv("LAB_CLICKHOUSE_URL", clickhouse_url)
    stock(tmp_path)
    lab = RunningLab(tmp_path)
    try:
        mine = lab.launch(strategy="ladder", timeframe="1m")["run"]["runId"]
        httpx.post(f"{lab.api}/runs/{mine}/cancel").raise_for_status()
        lab.wait(mine)
        with served() as port:
            for host in ("localhost", "127.0.0.1"):  # another site, and another port of the same
                page = browser.new_page()
                page.goto(f"http://{host}:{port}/")
                told = page.evaluate(WHAT_IT_TRIES, [lab.url, lab.api, MUTATION, mine])
                assert runs(lab) == {mine}, told
                assert told["socket"] == "failed"
                assert told["picture"] == told["script"] == told["JSON"] == "failed"
                page.goto(f"http://{host}:{port}/")
                page.evaluate(f"location = '{lab.url}/graphql?query={quote(MUTATION)}'")
                expect(page.get_by_text("another site")).to_be_visible()
                assert runs(lab) == {mine}
                page.goto(f"http://{host}:{port}/")
                page.evaluate(f"location = '{lab.url}/runs/{mine}'")  # a link may lead to a page
                expect(page.get_by_text("Canceled", exact=True)).to_be_visible()
                page.close()
        own = browser.new_page()
        own.goto(lab.url)
        answer = own.evaluate(
            """query => fetch("/graphql", {method: "POST", headers: {"content-type": "application/json"},
            body: JSON.stringify({query})}).then(answer => answer.json())""",
            MUTATION,
        )
        assert answer["data"]["launchRun"] == {"__typename": "LaunchRunSuccess"}
        assert len(runs(lab) - {mine}) == 1
    finally:
        lab.stop()


def test_a_person_logs_in_and_the_ui_works_off_loopback(browser, open_lab):
    url = open_lab.url
    page, frames = browser.new_page(), []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))  # noqa: PLW0108 - Playwright marks the function
    page.goto(f"{url}/automation")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("This is not the token.")).to_be_visible()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/automation")
    expect(page.get_by_text("nightly_backtests")).to_be_visible()
    assert frames  # the websocket has been let in, too
    with served() as port:
        page.goto(f"http://localhost:{port}/")
        page.evaluate(f"location = '{url}/automation'")  # such a link comes without the cookie
        expect(page.get_by_text("nightly_backtests")).to_be_visible()
    page.goto(f"{url}/login")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{url}/automation")
    expect(page.get_by_label("Token")).to_be_visible()
