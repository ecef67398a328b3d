// What failed, and trying it again. The server draws the rows; the page asks for them anew while it is looked at.
// Everything from the outside is written as text, never as markup.

import { ask } from "./feed.js";
import { startSession } from "./session.js";
import { byId, counted, dayTime, fill, fromTemplate } from "./words.js";

const REFRESH_MS = 10_000;
const NAME = "firstread.reader";

const signedIn = document.body.dataset.signedIn;
const shown = Number(document.body.dataset.shown);
const rows = byId("rows");
const name = byId("name");

function say(text, isRefused = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("refused", isRefused);
}

// ---- The rows ----

function rowOf(item) {
  const row = fromTemplate("failed-row").firstElementChild;
  row.dataset.uid = item.study_instance_uid;
  const { failure, ...values } = item;
  delete values.sop_instance_uid;
  const named = item.accession_number || item.study_instance_uid;
  fill(row, { ...values, ...failure, named });
  row.querySelector("time").dateTime = item.since;
  prepare(row);
  return row;
}

function prepare(row) {
  const time = row.querySelector("time");
  time.textContent = dayTime(time.dateTime);
  row.querySelector("button").hidden = false;
}

const keyOf = (item) => JSON.stringify(item);
let drawn = "";

function draw({ total, items }) {
  const keys = items.map(keyOf).join();
  if (keys !== drawn) {
    const place = [...rows.rows].indexOf(document.activeElement?.closest("tr"));
    drawn = keys;
    rows.replaceChildren(...items.map(rowOf));
    if (place >= 0) focusOn(place);
  }
  byId("failures").hidden = byId("all").hidden = !total;
  byId("none").hidden = Boolean(total);
  byId("rest").hidden = total <= shown;
  byId("total").textContent = total;
}

/** Where a row went, the keyboard goes on with the one that took its place. */
function focusOn(place) {
  const row = rows.rows[Math.min(place, rows.rows.length - 1)];
  (row?.querySelector("button") ?? byId("title")).focus();
}

async function refresh() {
  if (document.visibilityState !== "visible") return;
  try {
    const response = await ask(`worklist/failures?limit=${shown}`);
    if (response.ok) draw(await response.json());
  } catch {
    // What is shown stands; the next time may have an answer.
  }
}

// ---- Trying again ----

function asker() {
  if (signedIn) return signedIn;
  const typed = name.value.trim();
  name.setAttribute("aria-invalid", String(!typed));
  if (typed) localStorage.setItem(NAME, typed);
  else {
    say("Type your name first: who asked for another try stands in the study's history.", true);
    name.focus();
  }
  return typed;
}

async function tryAgain(uids) {
  const by = asker();
  if (!by) return;
  try {
    const response = await ask("worklist/failures/retry", {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ by, ...(uids && { study_instance_uids: uids }) }),
    });
    const answer = await response.json();
    if (!response.ok) say(`Not done: ${answer.detail ?? `the gateway answered ${response.status}`}`, true);
    else say(`${counted(answer.scheduled, "job is", "jobs are")} tried again; what fails once more comes back here.`);
  } catch {
    say("Not done: the gateway did not answer. Try again.", true);
  }
  refresh();
}

// ---- The beginning ----

name.value = localStorage.getItem(NAME) ?? "";
byId("asks").hidden = false;
byId("all").hidden = byId("failures").hidden;
for (const row of rows.rows) prepare(row);
byId("asks").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!byId("all").hidden) tryAgain(null);
});
rows.addEventListener("click", (event) => {
  const row = event.target.closest("button") && event.target.closest("tr");
  if (row) tryAgain([row.dataset.uid]);
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH_MS);
refresh();
startSession();
