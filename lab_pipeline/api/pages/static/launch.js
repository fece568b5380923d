// The forms of a backtest and of a sweep: what it would be is asked for as it changes; sent under a key, so that a
// second click is none.
"use strict";

const PAUSE_MS = 400;
const form = document.getElementById("launch");
const said = document.getElementById("said");
const estimate = document.getElementById("estimate");
const key = window.crypto && window.crypto.randomUUID ? window.crypto.randomUUID() : `${Date.now()}-${Math.random()}`;
let timer = 0;
let asked = 0;

function count(number) {
  return number.toLocaleString("en-US");
}

function lines(name) {
  return form.elements[name].value.split("\n").map((line) => line.trim()).filter((line) => line);
}

function value(text) {
  try { return JSON.parse(text); } catch { return text; }
}

// The end is exclusive, so that of the last call is a moment after it.
function after(last) {
  return new Date(Date.parse(last) + 1).toISOString();
}

// What each form asks of the API, how it says what that would be, and where the answer leads.
const KINDS = {
  backtest: {
    path: "/backtest",
    async request() {
      const fields = form.elements;
      const body = { strategyId: fields.strategyId.value, timeframe: fields.timeframe.value, seed: value(fields.seed.value.trim() || "0"), range: {} };
      if (fields.asOf.value.trim()) body.asOf = fields.asOf.value.trim();
      if (fields.strategyVersion.value) body.strategyVersion = fields.strategyVersion.value.trim();
      body.range.start = fields.start.value.trim();
      body.range.end = fields.end.value.trim() || after(fields.end.dataset.last);
      const callers = lines("callers");
      const mints = lines("mints");
      if (callers.length && mints.length) throw new Error("give callers or tokens, not both");
      const universe = { type: "all" };
      if (callers.length) Object.assign(universe, { type: "callers", callers });
      if (mints.length) Object.assign(universe, { type: "tokens", mints });
      if (fields.firstMention.value) {
        universe.firstMention = { by: fields.firstMention.value, windowDays: value(fields.windowDays.value.trim()) };
      }
      const faults = [...fields.withoutFaults].filter((box) => box.checked).map((box) => box.value);
      if (faults.length) universe.withoutFaults = faults;
      if (Object.keys(universe).length > 1) body.universe = universe;
      const params = lines("params").map((line) => {
        const at = line.indexOf("=");
        if (at < 1) throw new Error(`${line}: write path = value`);
        return [line.slice(0, at).trim(), value(line.slice(at + 1).trim())];
      });
      if (params.length) body.params = Object.fromEntries(params);
      return body;
    },
    rows({ estimatedCost: cost, resolvedConfig: config }) {
      const basis = cost.basedOnRuns ? `as the last ${cost.basedOnRuns} runs` : "a first guess";
      return [
        ["Calls", count(cost.calls)], ["Candles", `at most ${count(cost.candles)}`],
        ["Takes", `about ${cost.estimatedTimeSeconds.toFixed(1)} s, ${basis}`], ["Strategy", `${config.strategyId} v${config.strategyVersion}`],
      ];
    },
    next: (answer) => `/lab/runs/${answer.runId}`,
  },
  sweep: {
    path: "/sweeps",
    request: () => ask("POST", "/lab/launch/sweep/validate", { text: form.elements.text.value }),
    rows(found) {
      const cost = found.estimatedCost;
      const megabytes = (bytes) => count(Math.ceil(bytes / 1e6));
      const left = [["twice", found.duplicates], ["excluded", found.excluded], ["invalid", found.invalid]].filter(([, many]) => many);
      const rows = [
        ["Sets", `${found.exact ? "" : "at most "}${count(cost.sets)} by ${found.method}${left.map(([how, many]) => `, ${count(many)} ${how}`).join("")}`],
        ["Calls", `${count(cost.calls)} on ${count(cost.days)} days, of ${count(cost.callers)} callers`],
        ...[["Repeats", found.repeats], ["On faulty candles", found.faulty]].filter(([, many]) => many).map(([what, many]) => [what, `${count(many)} calls left out`]),
        ["Held out", `the last ${count(found.holdoutDays)} days with calls`], ["Candles", `at most ${count(cost.candles)}, each read once`],
        ["Memory", `${megabytes(cost.memoryBytes)} of ${megabytes(cost.memoryAllowedBytes)} MB for what is counted`],
        ["Strategy", `version ${found.strategyVersion}`],
        ...Object.entries(found.unsaid).map(([part, why]) => ["Cannot say", `${part}: ${why}`]),
      ];
      return rows.concat(found.firstInvalid.slice(0, 3).map((one) => ["Invalid", `${JSON.stringify(one.values)}: ${one.problems.join("; ")}`]));
    },
    next: (answer) => `/lab/sweeps/${answer.sweepId}`,
  },
};

// Another request needs another key; this tells requests of one page apart, no more.
function digest(text) {
  return [...text].reduce((sum, one) => (sum * 31 + one.codePointAt(0)) % 2147483647, 7);
}

function tell(rows) {
  estimate.replaceChildren(...rows.flatMap(([name, text]) => {
    const term = document.createElement("dt");
    const what = document.createElement("dd");
    term.textContent = name;
    what.textContent = text;
    return [term, what];
  }));
}

async function look(kind) {
  const mine = ++asked;
  try {
    const body = await kind.request();
    if (mine !== asked) return;
    document.getElementById("request").textContent = JSON.stringify(body, null, 2);
    const found = await ask("POST", `${kind.path}/dry-run`, body);
    if (mine !== asked) return;
    said.textContent = "";
    tell(kind.rows(found));
  } catch (error) {
    if (mine === asked) { said.textContent = error.message; tell([]); }
  }
}

if (form) {
  const kind = KINDS[form.dataset.kind];
  form.addEventListener("input", () => { window.clearTimeout(timer); timer = window.setTimeout(look, PAUSE_MS, kind); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const body = await kind.request();
      const answer = await ask("POST", kind.path, body, `${key}-${digest(JSON.stringify(body))}`);
      window.location.assign(kind.next(answer));
    } catch (error) { said.textContent = error.message; }
  });
  look(kind);
}
