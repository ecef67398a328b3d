// How a result came about, in the details of one study: asked for once somebody unfolds it.

import { ask } from "./feed.js";
import { byId, fill, fromTemplate } from "./words.js";

const section = byId("steps");
const list = byId("step-list");
const note = byId("steps-note");
let shown = null; // the item whose steps are wanted
let shownFor = ""; // of which the list holds the steps

section.addEventListener("toggle", () => section.open && load());

/** Offer the steps of this study; unfolded, show them. */
export function showSteps(item) {
  shown = item;
  section.hidden = item.score === null;
  if (section.open && !section.hidden) load();
}

async function load() {
  const item = shown;
  const key = [item.address, item.score, item.explained?.at, ...item.result_series_uids].join(" ");
  if (shownFor === key) return;
  shownFor = "";
  list.replaceChildren();
  let items = null;
  try {
    const response = await ask(`worklist/${encodeURIComponent(item.address)}/steps`);
    if (!response.ok) throw new Error(`answered ${response.status}`);
    ({ items } = await response.json());
  } catch {
    // It is said below.
  }
  if (shown !== item) return; // another study is looked at by now
  if (items) shownFor = key;
  note.textContent = items ? "An earlier version scored this study and kept no steps." : "Could not be asked for.";
  note.hidden = Boolean(items?.length);
  list.replaceChildren(...(items ?? []).map(line));
}

function line(step) {
  const row = fromTemplate("step").firstElementChild;
  row.dataset.verdict = step.verdict;
  fill(row, {
    name: step.name,
    verdict: step.verdict,
    elapsed: step.verdict === "left out" ? "" : duration(step.elapsed_ms),
    input: step.input,
    output: step.output,
  });
  return row;
}

function duration(ms) {
  if (ms < 1) return "under 1 ms";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
