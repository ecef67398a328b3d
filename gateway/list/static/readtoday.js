// What this reader has read today, the last first: folded, asked for when it is opened, each to be put back by one key.

import { ask } from "./feed.js";
import { act, reader } from "./readings.js";
import { byId, chipOf, counted, dayTime, fill, fromTemplate, now, personName } from "./words.js";

const LIMIT = 100;
const MOST = 2_000; // of all readers' that are looked through

const strip = byId("read-today");
const tbody = byId("read-today-rows");
let asking = null; // counts what is asked, so that an answer that was overtaken is left

function midnight() {
  const moment = new Date(now());
  moment.setHours(0, 0, 0, 0);
  return moment.getTime();
}

async function load() {
  const mine = Symbol("asked");
  asking = mine;
  const since = midnight();
  const items = [];
  try {
    for (let offset = 0; offset < MOST; offset += LIMIT) {
      const response = await ask(`worklist?reading=read&limit=${LIMIT}&offset=${offset}`);
      if (!response.ok) throw new Error(`answered ${response.status}`);
      const page = (await response.json()).items;
      const today = page.filter(({ reading }) => Date.parse(reading.since) >= since);
      items.push(...today.filter(({ reading }) => reading.by === reader()));
      if (today.length < LIMIT) break;
    }
  } catch {
    if (asking === mine) say("Could not be asked for: fold and open it again.");
    return;
  }
  if (asking === mine) draw(items);
}

function say(text) {
  byId("read-today-said").textContent = text;
}

function draw(items) {
  const at = [...tbody.querySelectorAll("button")].indexOf(document.activeElement);
  say(items.length ? counted(items.length, "study", "studies") : "None yet.");
  tbody.parentElement.hidden = !items.length;
  tbody.replaceChildren(
    ...items.map((item) => {
      const row = fromTemplate("read-row").firstElementChild;
      const { shown: name } = personName(item.patient_name);
      row.item = item;
      row.dataset.uid = item.address;
      fill(row, {
        name,
        patient_id: item.patient_id,
        study_description: item.study_description,
        accession_number: item.accession_number,
        flag: chipOf(item),
        read: dayTime(item.reading.since),
      });
      row.querySelector("button").setAttribute("aria-label", `Put back: ${name}`);
      return row;
    }),
  );
  if (at >= 0) (tbody.querySelectorAll("button")[at] ?? strip.querySelector("summary")).focus({ preventScroll: true });
}

function offer() {
  strip.hidden = !reader() || document.body.dataset.mayRead === "no";
  if (strip.open) load();
}

export function startReadToday() {
  offer();
  document.addEventListener("reader", offer);
  document.addEventListener("acted", offer);
  strip.addEventListener("toggle", () => strip.open && load());
  tbody.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-act]");
    if (button) act(button.closest("tr").item, "unread", "Put back");
  });
  tbody.addEventListener("keydown", (event) => {
    if (event.key !== "u" || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    event.preventDefault();
    event.stopPropagation();
    act(event.target.closest("tr").item, "unread", "Put back");
  });
}
