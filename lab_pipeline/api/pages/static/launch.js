// The form of a backtest: what it would be is asked for as it changes; sent under a key, so that a second click is none.
"use strict";

const PAUSE_MS = 400;
const form = document.getElementById("backtest");
const said = document.getElementById("said");
const estimate = document.getElementById("estimate");
const key = window.crypto && window.crypto.randomUUID ? window.crypto.randomUUID() : `${Date.now()}-${Math.random()}`;
let timer = 0;
let asked = 0;

function lines(name) {
  return form.elements[name].value.split("\n").map((line) => line.trim()).filter((line) => line);
}

function value(text) {
  try { return JSON.parse(text); } catch { return text; }
}

function request() {
  const fields = form.elements;
  const body = { strategyId: fields.strategyId.value, timeframe: fields.timeframe.value, seed: value(fields.seed.value.trim() || "0"), range: {} };
  if (fields.strategyVersion.value) body.strategyVersion = fields.strategyVersion.value.trim();
  body.range.start = fields.start.value.trim();
  body.range.end = fields.end.value.trim() || after(fields.end.dataset.last);
  const callers = lines("callers");
  const mints = lines("mints");
  if (callers.length && mints.length) throw new Error("give callers or tokens, not both");
  if (callers.length) body.universe = { type: "callers", callers };
  if (mints.length) body.universe = { type: "tokens", mints };
  const params = lines("params").map((line) => {
    const at = line.indexOf("=");
    if (at < 1) throw new Error(`${line}: write path = value`);
    return [line.slice(0, at).trim(), value(line.slice(at + 1).trim())];
  });
  if (params.length) body.params = Object.fromEntries(params);
  return body;
}

// The end is exclusive, so that of the last call is a moment after it.
function after(last) {
  return new Date(Date.parse(last) + 1).toISOString();
}

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

async function look() {
  const mine = ++asked;
  try {
    const body = request();
    document.getElementById("request").textContent = JSON.stringify(body, null, 2);
    const { estimatedCost: cost, resolvedConfig: config } = await ask("POST", "/backtest/dry-run", body);
    if (mine !== asked) return;
    said.textContent = "";
    const basis = cost.basedOnRuns ? `as the last ${cost.basedOnRuns} runs` : "a first guess";
    tell([
      ["Calls", cost.calls.toLocaleString("en-US")], ["Candles", `at most ${cost.candles.toLocaleString("en-US")}`],
      ["Takes", `about ${cost.estimatedTimeSeconds.toFixed(1)} s, ${basis}`], ["Strategy", `${config.strategyId} v${config.strategyVersion}`],
    ]);
  } catch (error) {
    if (mine === asked) { said.textContent = error.message; tell([]); }
  }
}

if (form) {
  form.addEventListener("input", () => { window.clearTimeout(timer); timer = window.setTimeout(look, PAUSE_MS); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const body = request();
      const answer = await ask("POST", "/backtest", body, `${key}-${digest(JSON.stringify(body))}`);
      window.location.assign(`/lab/runs/${answer.runId}`);
    } catch (error) { said.textContent = error.message; }
  });
  look();
}
