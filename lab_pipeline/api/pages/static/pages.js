// What all pages do: keys that lead from page to page, and forms that ask the API and say what it answered.
"use strict";

// Ask the API; resolves to its answer, rejects with an Error whose message is what the API said.
async function ask(method, path, body, key) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  if (key) headers["Idempotency-Key"] = key;
  const response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })
    .catch(() => { throw new Error("the lab does not answer: is it running?"); });
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

// Write what is no text, such as a character that turns the direction of others, as its escape, as the pages do.
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (one) => {
    const code = one.codePointAt(0);
    const plain = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
    const hex = code.toString(16);
    return plain || (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`);
  });
}

// What scrolls sideways is reached by the tabulator, and has a name, so that it can be scrolled by keyboard.
function reach() {
  document.querySelectorAll(".scroll").forEach((box) => {
    if (box.scrollWidth <= box.clientWidth) { ["tabindex", "role", "aria-label"].forEach((name) => box.removeAttribute(name)); return; }
    const part = box.closest("section");
    const head = (part && part.querySelector("h2")) || document.querySelector("h1");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", `${head ? head.textContent.trim() : document.title}, wider than the page`);
  });
}

reach();
window.addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);

// Buttons of one request: <button data-method="POST" data-path="/runs/…/cancel" data-confirm="…">.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-path]");
  if (!button || (button.dataset.confirm && !window.confirm(button.dataset.confirm))) return;
  const said = document.getElementById(button.dataset.said || "said");
  button.disabled = true;
  try {
    const answer = await ask(button.dataset.method, button.dataset.path, button.dataset.body && JSON.parse(button.dataset.body));
    const next = button.dataset.next;
    if (next) window.location.assign(next.replace("{runId}", answer.runId || ""));
    else window.location.reload();
  } catch (error) {
    if (said) said.textContent = error.message;
    button.disabled = false;
  }
});

// A form whose fields are changed by one request: <form data-patch="/runs/…">.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-patch]");
  if (!form) return;
  event.preventDefault();
  const fields = form.elements;
  const labels = fields.labels.value.split(",").map((one) => one.trim()).filter((one) => one);
  const told = form.querySelector("[role=status]");
  try {
    await ask("PATCH", form.dataset.patch, { name: fields.name.value, labels, notes: fields.notes.value, pinned: fields.pinned.checked });
    told.className = "said good";
    told.textContent = "Saved";
  } catch (error) {
    told.className = "said";
    told.textContent = error.message;
  }
});

// Keys: g and then that of a page, which its link says; / leads to the first field.
let waiting = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (waiting) {
    waiting = false;
    const found = [...document.querySelectorAll("nav.top a")].find((link) => link.dataset.key === event.key);
    if (found) found.click();
  } else if (event.key === "g") {
    waiting = true;
    window.setTimeout(() => { waiting = false; }, 1000);
  } else if (event.key === "/") {
    const field = document.querySelector("main input, main select");
    if (field) { event.preventDefault(); field.focus(); }
  }
});
