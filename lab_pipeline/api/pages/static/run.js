// A run or sweep that is not done: a bar that moves, what is left, and the page itself once there is one.
"use strict";

const EVERY_MS = 1000;
const bar = document.getElementById("progress");
const told = document.getElementById("progress-said");

function span(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

async function look() {
  const at = await ask("GET", bar.dataset.source);
  if (at.finished) { window.location.reload(); return; }
  if (!at.started) {
    bar.removeAttribute("value");
    told.textContent = `Waits for its turn since ${span(at.seconds)}`;
  } else if (at.done !== null && at.done > 0) {
    bar.value = at.done / at.total;
    const left = at.secondsLeft ?? at.seconds * (at.total / at.done - 1);
    const best = at.best ? `; ${at.best}` : "";
    told.textContent = `${at.done.toLocaleString("en-US")} of ${at.total.toLocaleString("en-US")} ${at.noun || "calls"}; about ${span(left)} left${best}`;
  } else if (at.expectedSeconds) {
    bar.value = Math.min(0.95, at.seconds / at.expectedSeconds);
    told.textContent = `Runs for ${span(at.seconds)}; such runs take about ${span(at.expectedSeconds)}`;
  } else {
    told.textContent = `Runs for ${span(at.seconds)}`;
  }
  window.setTimeout(keep, EVERY_MS);
}

function keep() {
  look().catch((error) => { told.textContent = error.message; window.setTimeout(keep, 5 * EVERY_MS); });
}

if (bar) keep();
