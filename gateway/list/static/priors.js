// The priors: folded, counted, in order of arrival and not raised; one key or button makes one of them work.

import { ask } from "./feed.js";
import { act } from "./readings.js";
import { byId, chipOf, counted, fill, fromTemplate, localTime, personName } from "./words.js";

const LIMIT = 100;

const strip = byId("priors");
const tbody = byId("prior-rows");
let shown = LIMIT;
let count = null;
let asking = false;

/** Say how many there are, and show them anew where they are open. */
export function countPriors(now) {
  if (now === count) return;
  count = now;
  strip.hidden = !count;
  byId("priors-count").textContent = counted(count, "prior", "priors");
  if (strip.open) load();
}

async function load() {
  if (asking) return;
  asking = true;
  try {
    const items = [];
    let total = 1;
    while (items.length < Math.min(shown, total)) {
      const response = await ask(`worklist?reading=prior&limit=${LIMIT}&offset=${items.length}`);
      if (!response.ok) return;
      const page = await response.json();
      total = page.total;
      if (!page.items.length) break;
      items.push(...page.items);
    }
    draw(items, total);
  } catch {
    // The page says of itself that it is not live.
  } finally {
    asking = false;
  }
}

function draw(items, total) {
  const at = [...tbody.querySelectorAll("button")].indexOf(document.activeElement);
  tbody.replaceChildren(
    ...items.map((item) => {
      const row = fromTemplate("prior-row").firstElementChild;
      const { shown: name } = personName(item.patient_name);
      row.item = item;
      row.dataset.uid = item.address;
      fill(row, {
        name,
        patient_id: item.patient_id,
        study_description: item.study_description,
        accession_number: item.accession_number,
        flag: chipOf(item),
        received: localTime(item.received_at),
      });
      row.querySelector("button").setAttribute("aria-label", `Make it work: ${name}`);
      return row;
    }),
  );
  byId("prior-rest").hidden = items.length >= total;
  byId("more-priors").textContent = `Show more of ${total}`;
  if (at >= 0) (tbody.querySelectorAll("button")[at] ?? strip.querySelector("summary")).focus({ preventScroll: true });
}

async function makeWork(row) {
  await act(row.item, "unread", "Now on the list");
  load();
}

export function startPriors() {
  strip.addEventListener("toggle", () => strip.open && load());
  byId("more-priors").addEventListener("click", () => {
    shown += LIMIT;
    load();
  });
  tbody.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (button) makeWork(button.closest("tr"));
  });
  tbody.addEventListener("keydown", (event) => {
    if (event.key !== "u" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    event.preventDefault();
    event.stopPropagation();
    makeWork(event.target.closest("tr"));
  });
}
