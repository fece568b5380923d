from datetime import timedelta

import pytest

from lab_pipeline.runs.artifacts import ArtifactStore
from lab_pipeline.statistics import Statistics, refresh
from lab_pipeline.statistics.catalog import Catalog
from lab_pipeline.statistics.segments import SegmentFiles
from lab_pipeline_tests.support.world import CAPITAL, START, Call, World

BOARDS = ("/leaderboard", "/leaderboard/strategies", "/leaderboard/callers")
PATHS = ("/statistics/overview", "/statistics/pnl", "/statistics/distribution", "/statistics/correlation", *BOARDS)


@pytest.fixture
def served(api, home):
    world = World(home)
    for number in range(5):
        world.add(
            [
                Call(f"c{i}", f"caller {i % 4}", f"mint {i}", ((-1) ** i * 0.01 * (i + number),), START + timedelta(i))
                for i in range(24)
            ],
            strategy="ladder",
            closes=[CAPITAL + (number - 2) * day for day in range(1, 6)],
            total_return=number / 10,
        )
    refresh(world.statistics, world.runs)
    return api


def test_before_the_first_computation_it_says_so_rather_than_nothing(api):
    for path in PATHS:
        answer = api.get(path)
        assert answer.status_code == 503
        assert "lab statistics --refresh" in answer.json()["error"]["message"]
        assert "Retry-After" in answer.headers


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_says_when_it_was_computed_and_is_known_again(served, path):
    answer = served.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["computedAt"].endswith("Z")
    again = served.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert served.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_numbers_arrive_as_they_were_computed(served):
    body = served.get("/statistics/overview").json()
    assert (body["totalRuns"], body["runsByStatus"], body["totalTrades"]) == (5, {"completed": 5}, 120)
    some = served.get("/statistics/overview", params={"from": "2025-01-02", "to": "2025-01-04T00:00:00Z"}).json()
    assert some["totalTrades"] == 10
    none = served.get("/statistics/overview", params={"strategyId": "none"}).json()
    assert (none["totalRuns"], none["avgPnl"], none["winRate"]) == (0, None, None)
    buckets = served.get("/statistics/distribution", params={"metric": "pnl", "bins": "quantile:4"}).json()
    assert sum(bucket["count"] for bucket in buckets["distributions"]["pnl"]) == 120
    pairs = served.get("/statistics/correlation", params={"method": "spearman", "features": ["hourOfDay"]}).json()
    assert {pair["metric1"] for pair in pairs["correlations"]} == {"hourOfDay"}
    assert all(pair["correlation"] is None for pair in pairs["correlations"])


@pytest.mark.parametrize(
    ("path", "plural"),
    [("/statistics/pnl?groupBy=token", "groups"), ("/statistics/pnl?groupBy=day&from=2025-01-03", "groups")]
    + [(f"{board}?metric={metric}", "leaderboard") for board in BOARDS for metric in ("pnl", "stability", "sharpe")],
)
def test_walking_the_cursors_gives_every_row_once(served, path, plural):
    whole = served.get(path, params={"limit": 100}).json()
    assert whole["nextCursor"] is None
    seen, cursor = [], None
    while True:
        page = served.get(path, params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += page[plural]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == whole[plural]


def test_runs_have_ranks_and_names_and_the_old_address_answers_the_same(served):
    body = served.get("/leaderboard").json()
    assert [row["rank"] for row in body["leaderboard"]] == [1, 2, 3, 4, 5]
    assert body["leaderboard"][0]["pnl"] == 4000.0
    assert body["leaderboard"][0]["strategyName"] == "Ladder with trail"
    assert served.get("/api/leaderboard").json() == body
    assert served.get("/leaderboard", params={"strategyId": "none"}).json()["leaderboard"] == []
    assert served.get("/leaderboard/callers", params={"strategyId": "ladder"}).json()["leaderboard"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/statistics/overview?from=soon", "from"),
        ("/statistics/overview?from=2025-01-02&to=2025-01-01", "to"),
        ("/statistics/pnl?groupBy=hour", "groupBy"),
        ("/statistics/pnl?cursor=x", "cursor"),
        ("/statistics/distribution?bins=0", "bins"),
        ("/statistics/distribution?metric=age", "metric"),
        ("/statistics/correlation?features=ath", "features"),
        ("/leaderboard?window=7", "window"),
        ("/leaderboard?metric=luck", "metric"),
        ("/leaderboard?limit=101", "limit"),
        ("/leaderboard?by=pnl", "by"),
    ],
)
def test_wrong_parameters_are_named(served, path, field):
    answer = served.get(path)
    assert answer.status_code == 422, answer.text
    assert any(field in problem["path"] for problem in answer.json()["error"]["details"])


def test_a_cursor_of_another_list_is_refused(served):
    cursor = served.get("/leaderboard?limit=1").json()["nextCursor"]
    assert served.get("/leaderboard", params={"metric": "sharpe", "cursor": cursor}).status_code == 422


def test_a_new_run_changes_the_tag(served, home):
    before = served.get("/statistics/overview").headers["ETag"]
    statistics = Statistics(
        Catalog(home / "catalog.duckdb"), SegmentFiles(home / "statistics"), ArtifactStore(home / "artifacts")
    )
    refresh(statistics, [])
    assert served.get("/statistics/overview").headers["ETag"] != before
