// The settings: what the list would look like under others, and the change. The server draws what holds and the
// history. Everything from the outside is written as text, never as markup.

import { ask } from "./feed.js";
import { byId, chipOf, counted, fill, fromTemplate, personName } from "./words.js";

const NAME = "firstread.reader";
const CHANGED = "firstread.changed";
const ROWS = 15;

const signedIn = document.body.dataset.signedIn;
const form = byId("form");
const name = byId("name");
const inputs = [...form.querySelectorAll("[data-name], [data-map], [data-words]")];
let previewed = null; // the values that were seen as a preview, as text

function say(text, isRefused = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("refused", isRefused);
}

// ---- The form ----

/** What the form says; a field that is no number is told of and focused, and gives null. */
function read() {
  const values = { weights: {}, named_from: {}, critical_from: {} };
  for (const input of inputs) {
    const { name: key, map, key: finding, words } = input.dataset;
    const isEmpty = !input.value.trim() && !input.validity.badInput;
    if (words) values[words] = input.value.split(",").map((word) => word.trim()).filter(Boolean);
    else if (input.type === "checkbox") values[key] = input.checked;
    else if (isEmpty && map) continue;
    else if (isEmpty && key === "flag_from") values[key] = null;
    else if (isEmpty || Number.isNaN(input.valueAsNumber)) return refuse(input);
    else if (map) values[map][finding] = input.valueAsNumber;
    else values[key] = input.valueAsNumber;
    input.removeAttribute("aria-invalid");
  }
  return values;
}

function refuse(input) {
  input.setAttribute("aria-invalid", "true");
  input.focus();
  say(`${input.labels[0]?.textContent ?? input.ariaLabel} must be a number.`, true);
  return null;
}

function write(values) {
  for (const input of inputs) {
    const { name: key, map, key: finding, words } = input.dataset;
    if (words) input.value = values[words].join(", ");
    else if (input.type === "checkbox") input.checked = values[key];
    else input.value = (map ? values[map][finding] : values[key]) ?? "";
  }
  forget();
}

/** What was seen is no longer what the form says. */
function forget() {
  previewed = null;
  byId("change").disabled = true;
}

async function send(path, method, body) {
  const options = { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  try {
    const response = await ask(path, { ...options, signal: AbortSignal.timeout(60_000) });
    const answer = await response.json();
    if (response.ok) return answer;
    say(`Not done: ${answer.detail ?? `the gateway answered ${response.status}`}`, true);
  } catch {
    say("Not done: the gateway did not answer. Try again.", true);
  }
  return null;
}

// ---- The preview ----

const flagsOf = ({ now, then, gained, lost }, word) =>
  `${word}: ${then} instead of ${now} (${gained} gain it, ${lost} lose it)`;

function rowOf(study, urgency) {
  const row = fromTemplate("placed-row").firstElementChild;
  fill(row, {
    then: study.place_then,
    now: study.place_now,
    name: personName(study.patient_name).shown,
    patient: study.patient_id,
    flag: chipOf({ urgency }).firstElementChild,
  });
  row.classList.toggle("moves", study.place_then !== study.place_now);
  return row;
}

function draw(preview) {
  const { listed, moved, flagged, critical } = preview;
  const whole = `${counted(moved, "study", "studies")} of ${listed} on the list would stand elsewhere`;
  byId("told").textContent = [whole, flagsOf(flagged, "flagged"), flagsOf(critical, "critical")].join("; ") + ".";
  byId("then").tBodies[0].replaceChildren(...preview.then.map((study) => rowOf(study, study.urgency_then)));
  byId("now").tBodies[0].replaceChildren(...preview.now.map((study) => rowOf(study, study.urgency_now)));
  byId("outcome").hidden = false;
}

async function preview() {
  const values = read();
  if (!values) return;
  forget();
  say("Looking …");
  const told = await send(`settings/triage/preview?rows=${ROWS}`, "POST", { values });
  if (!told) return;
  draw(told);
  if (!told.changes.length) {
    say("These are the settings that hold now.");
    return;
  }
  previewed = JSON.stringify(values);
  byId("change").disabled = false;
  say(`${counted(told.changes.length, "setting differs", "settings differ")}. Nothing is changed yet.`);
}

// ---- The change ----

async function change() {
  const values = read();
  if (!values || JSON.stringify(values) !== previewed) return;
  const by = signedIn || name.value.trim();
  const why = byId("why").value.trim();
  for (const [input, isThere] of [[name, by], [byId("why"), why]]) {
    input.setAttribute("aria-invalid", String(!isThere));
    if (!isThere) {
      say("Say who you are and why: both stand in the history.", true);
      input.focus();
      return;
    }
  }
  if (!signedIn) localStorage.setItem(NAME, by);
  say("Changing …");
  const body = { values, why, by, based_on: Number(document.body.dataset.number) };
  const settings = await send("settings/triage", "PUT", body);
  if (!settings) return;
  sessionStorage.setItem(CHANGED, settings.number);
  location.reload();
}

// ---- The beginning ----

name.value = localStorage.getItem(NAME) ?? "";
byId("asks").hidden = false;
form.addEventListener("input", ({ target }) => {
  if (inputs.includes(target)) forget();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  preview();
});
byId("change").addEventListener("click", change);
for (const button of document.querySelectorAll("#history button")) button.hidden = false;
byId("history").addEventListener("click", (event) => {
  const row = event.target.closest("button") && event.target.closest("tr");
  if (!row) return;
  write(JSON.parse(row.dataset.values));
  say("Filled in. Look at the preview.");
  byId("preview").focus();
});
const changed = sessionStorage.getItem(CHANGED);
if (changed) {
  sessionStorage.removeItem(CHANGED);
  say(`Choice ${changed} holds: the whole list stands under it.`);
  byId("title").focus();
}
