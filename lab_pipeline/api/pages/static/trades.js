// A table of any length: the rows that are seen are asked for as they come into sight.
"use strict";

const ROW = 34; // CSS pixels, as in pages.css
const AT_ONCE = 200;
const box = document.getElementById("window");
const body = document.getElementById("rows");
const run = body.dataset.run;
const wanted = new URLSearchParams(new FormData(document.getElementById("wanted")));
[...wanted].filter(([, value]) => !value).forEach(([name]) => wanted.delete(name));
let sort = "called_at";
let order = "asc";
let total = 0;
let blocks = new Map(); // number of the block -> its rows, or the promise of them
let drawn = "";

function percent(value) {
  if (value === null) return "–";
  return `${value > 0 ? "+" : value < 0 ? "−" : ""}${(Math.abs(value) * 100).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 })}%`;
}

function number(value, digits) {
  return value === null ? "–" : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

function cell(row, text, kind) {
  const made = row.insertCell();
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function line(of, place) {
  const row = document.createElement("tr");
  row.ariaRowIndex = place + 2; // from one, and the first is the head
  const tone = of.net_return === null ? "" : of.net_return > 0 ? " up" : " down";
  const link = document.createElement("a");
  link.href = `${run}/calls?call=${encodeURIComponent(of.call_id)}`;
  link.textContent = of.called_at.slice(0, 16).replace("T", " ");
  cell(row, "").append(link);
  cell(row, visible(of.caller), "long").title = visible(of.caller);
  const mint = [...of.mint];
  cell(row, visible(mint.length > 14 ? `${mint.slice(0, 6).join("")}…${mint.slice(-4).join("")}` : of.mint), "mono").title = visible(of.mint);
  cell(row, of.outcome.replaceAll("_", " "));
  cell(row, percent(of.net_return), `n${tone}`);
  cell(row, (of.exit_reason || "–").replaceAll("_", " "));
  cell(row, number(of.hold_minutes, 0), "n");
  cell(row, percent(of.mfe), "n");
  cell(row, number(of.pnl, 2), "n");
  cell(row, of.taken === null ? "–" : of.taken ? "taken" : (of.skip_reason || "skipped").replaceAll("_", " "));
  return row;
}

function filler(height) {
  const row = document.createElement("tr");
  row.className = "filler";
  row.ariaHidden = "true";
  row.insertCell().colSpan = 10;
  row.style.height = `${height}px`;
  return row;
}

function block(which) {
  if (!blocks.has(which)) {
    const asked = new URLSearchParams(wanted);
    Object.entries({ sort, order, offset: which * AT_ONCE, limit: AT_ONCE }).forEach(([name, value]) => asked.set(name, value));
    const kept = blocks;
    kept.set(which, ask("GET", `${run}/trades.json?${asked}`).then((answer) => {
      kept.set(which, answer.rows.map((row) => Object.fromEntries(row.map((value, at) => [answer.columns[at], value]))));
      if (kept === blocks) tell(answer);
    }).catch((error) => { kept.delete(which); throw error; }));
  }
  return blocks.get(which);
}

function tell(answer) {
  total = answer.total;
  body.parentElement.ariaRowCount = total + 1;
  const trades = answer.trades ? `: mean net return ${percent(answer.meanReturn)}, ${percent(answer.wins / answer.trades).replace("+", "")} winning` : "";
  document.getElementById("sum").textContent = `${number(answer.trades, 0)} trades in ${number(total, 0)} rows${trades}`;
  draw();
}

function draw() {
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 10);
  const last = Math.min(total, first + Math.ceil(box.clientHeight / ROW) + 20);
  const parts = [];
  let known = true;
  for (let which = Math.floor(first / AT_ONCE); which * AT_ONCE < last; which += 1) {
    const rows = block(which);
    if (Array.isArray(rows)) parts.push([which * AT_ONCE, rows]);
    else { known = false; rows.then(draw, complain); }
  }
  const state = `${sort} ${order} ${first} ${last} ${known} ${total}`;
  if (!known || state === drawn) return;
  drawn = state;
  const shown = [];
  parts.forEach(([start, rows]) => rows.forEach((row, at) => { if (start + at >= first && start + at < last) shown.push(line(row, start + at)); }));
  body.replaceChildren(filler(first * ROW), ...shown, filler((total - last) * ROW));
}

function complain(error) {
  document.getElementById("said").textContent = error.message;
}

function begin() {
  blocks = new Map();
  drawn = "";
  document.querySelectorAll("[data-sort]").forEach((head) => {
    if (head.dataset.sort === sort) head.setAttribute("aria-sort", order === "asc" ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  });
  block(0).catch(complain);
}

document.querySelectorAll("[data-sort] button").forEach((button) => button.addEventListener("click", () => {
  const by = button.parentElement.dataset.sort;
  order = by === sort && order === "desc" ? "asc" : by === sort ? "desc" : ["caller", "mint", "called_at"].includes(by) ? "asc" : "desc";
  sort = by;
  box.scrollTop = 0;
  begin();
}));
box.addEventListener("scroll", () => window.requestAnimationFrame(draw), { passive: true });
window.addEventListener("resize", draw);
begin();
