// Words beside a study, in its details: what the reason that the order states says against the film, and what a note
// does that a reader pastes. Neither is kept, here or elsewhere; another study finds no note.

import { ask } from "./feed.js";
import { clearNote, focusNote, readingOf, showNote } from "./note.js";
import { byId } from "./words.js";

const PATIENCE_MS = 300_000; // a note waits for the language model of a site that has one

const NOTHING = { answer: null, problem: "" };

const section = byId("clinical");
const fold = byId("note-fold");
const text = byId("note");
const said = byId("note-said");
const clear = byId("note-clear");

let shown = null; // the item that they lie beside
let heldAgainst = ""; // as which the film was judged when its request was read
let request = null; // answers of the gateway
let note = null;
let noted = ""; // the note that is read, or is being read
let turn = 0; // of asking: what answers an earlier one is not shown

const named = ({ findings }) => findings.filter((one) => one.named).map(({ name, side }) => `${name} ${side}`);
const judgedAs = (item) => JSON.stringify([item.address, item.question, item.score === null, ...named(item)]);

/** Offer to read a note beside this study, and show what its request says; again once its film is judged anew. */
export function showStudyNote(item) {
  shown = item;
  section.hidden = false;
  const judged = judgedAs(item);
  if (heldAgainst === judged) return;
  heldAgainst = judged;
  readRequest(judged);
  if (noted) readNote(noted, !note);
}

async function readRequest(judged) {
  const { answer, problem } = shown.question ? await asked(shown) : NOTHING;
  if (heldAgainst !== judged) return; // another study is looked at by now, or its film was judged anew
  request = answer;
  showNote(note, request);
  if (!problem) return;
  heldAgainst = ""; // the next look asks again
  said.textContent = `The request could not be read: ${problem}`;
}

async function readNote(words, isNew) {
  const mine = ++turn;
  noted = words;
  said.textContent = "Reading \u2026";
  const { answer, problem } = await asked(shown, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: words }),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (turn !== mine) return;
  note = answer;
  if (!answer) noted = "";
  clear.hidden = !answer;
  said.textContent = answer ? readingOf(answer) : `Not read: ${problem}`;
  showNote(note, request);
  if (!answer || !isNew) return;
  fold.open = false;
  focusNote();
}

async function asked(item, options = {}) {
  try {
    const response = await ask(`text/${encodeURIComponent(item.address)}`, options);
    const answer = await response.json();
    if (response.ok) return { ...NOTHING, answer };
    return { ...NOTHING, problem: answer.detail ?? `the gateway answered ${response.status}` };
  } catch {
    return { ...NOTHING, problem: "the gateway did not answer. Try again." };
  }
}

/** Nothing of a note stays. */
function forgetNote() {
  turn += 1;
  note = null;
  text.value = noted = said.textContent = "";
  clear.hidden = true;
}

document.addEventListener("other", () => {
  forgetNote();
  shown = request = null;
  heldAgainst = "";
  fold.open = false;
  clearNote();
  section.hidden = true;
});
byId("note-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (text.value.trim()) readNote(text.value, true);
});
clear.addEventListener("click", () => {
  forgetNote();
  showNote(null, request);
  fold.firstElementChild.focus();
});
