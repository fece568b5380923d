// What is made of a sweep: a set becomes a strategy, and the holdout is looked at; what the API refuses is said.
"use strict";

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-promote], form[data-reveal]");
  if (!form) return;
  event.preventDefault();
  const fields = form.elements;
  const told = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) return;
  button.disabled = true;
  told.className = "said";
  told.textContent = "";
  try {
    if (form.dataset.reveal) {
      await ask("POST", `${form.dataset.reveal}/reveal`, { by: fields.by.value.trim() });
      window.location.hash = "holdout";
      window.location.reload();
      return;
    }
    const path = `${form.dataset.promote}/sets/${Number(fields.set.value)}/promote`;
    const made = await ask("POST", path, { as: fields.as.value.trim(), despiteVerdict: fields.despite.checked });
    const link = document.createElement("a");
    link.href = `/lab/launch?strategy=${encodeURIComponent(made.strategyId)}`;
    link.textContent = "Run it";
    told.className = "said good";
    told.append(`${made.isNew ? "Stored as" : "It was already"} ${made.strategyId} version ${made.version}. `, link);
  } catch (error) { told.textContent = error.message; }
  button.disabled = false;
});
