// Who opened a study in an emergency, and the form for whoever must: where people log in.

import { ask } from "./feed.js";
import { byId, dayTime } from "./words.js";

const section = byId("openings"); // null where nobody logs in
const isAsked = document.body.dataset.login === "on";
const mayOpen = document.body.dataset.mayOpen === "yes";
const LASTS_MS = 4 * 3_600_000; // so long a study stays open to whoever opened it
const opened = new Set(); // studies that this reader has opened
let shown = null; // the item that is looked at
let look = null; // shows the pictures again

/** Whether this reader is shown the pictures of a study. */
export const isOpen = (item) => mayOpen || opened.has(item.address);

/** Say who opened this study; whoever may not see it is asked for a reason. */
export async function showOpenings(item, showPictures) {
  if (!isAsked) return;
  shown = item;
  look = showPictures;
  draw(item, []);
  try {
    const response = await ask(`worklist/${encodeURIComponent(item.address)}/openings`);
    const { items } = response.ok ? await response.json() : { items: [] };
    if (shown !== item) return; // another study is looked at by now
    const isNew = !isOpen(item) && items.some(isMine);
    if (isNew) opened.add(item.address);
    draw(item, items);
    if (isNew) look(item);
  } catch {
    // It was only to say who looked.
  }
}

const isMine = ({ by, at }) => by === document.body.dataset.signedIn && Date.now() - Date.parse(at) < LASTS_MS;

function draw(item, items) {
  byId("open-said").textContent = "";
  byId("open-form").hidden = isOpen(item);
  byId("opening-list").replaceChildren(...items.map(line));
  section.hidden = isOpen(item) && !items.length;
}

function line({ by, at, reason }) {
  const row = document.createElement("li");
  row.textContent = `${by}, ${dayTime(at)}: ${reason}`;
  return row;
}

async function open(event) {
  event.preventDefault();
  const item = shown;
  try {
    const response = await ask(`worklist/${encodeURIComponent(item.address)}/opening`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ reason: byId("open-reason").value }),
    });
    if (!response.ok) {
      byId("open-said").textContent = `Not opened: ${(await response.json()).detail}`;
      return;
    }
    opened.add(item.address);
    byId("open-reason").value = "";
    if (shown === item) look(item);
  } catch {
    byId("open-said").textContent = "Not opened: the gateway did not answer. Try again.";
  }
}

if (isAsked) byId("open-form").addEventListener("submit", open);
