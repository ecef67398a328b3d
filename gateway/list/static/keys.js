// What the keyboard and the pointer do with studies.

import { panel } from "./details.js";
import { judge } from "./feedback.js";
import { isShown } from "./filters.js";
import {
  close,
  currentUid,
  expectLeaving,
  lastLeft,
  nameOf,
  onwards,
  openUid,
  reveal,
  setCurrent,
  setOpen,
  step,
} from "./list.js";
import { act, canUndo, isMine, notice, undo } from "./readings.js";
import { isSteady, rowOf, tbody } from "./rows.js";
import * as store from "./store.js";
import { withPrior } from "./store.js";
import { followInViewer, onViewerLink, openInViewer } from "./viewer.js";
import { byId } from "./words.js";

const SURPRISE_MS = 1_500; // a key that is pressed so soon after a row has left was meant for that one

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity };
const VERDICTS = { a: "agree", d: "disagree" };
const ACTS = { c: "reading", r: "read", n: "next", u: "unread" };

const search = byId("search");
const pending = new Set(); // studies that the gateway is being told of: a second key in that time does nothing

// ---- What is done ----

async function doAct(item, state) {
  const uid = item.address;
  if (pending.has(uid)) return;
  pending.add(uid);
  expectLeaving(uid);
  const ahead = onwards(uid);
  const wasOpen = openUid() !== null; // its going may be heard of before the answer, and closes the panel
  const isDone = await act(item, state === "next" ? "read" : state, state === "unread" ? "Put back" : "");
  pending.delete(uid);
  if (!isDone || state !== "next") return;
  const next = ahead.find((other) => store.get(other)?.reading.state === "unread");
  if (!next) return;
  reveal(next, wasOpen || openUid() !== null);
  followInViewer(...withPrior(store.get(next)));
}

async function takeBack() {
  const item = await undo();
  const back = item && store.get(item.address);
  if (back && isShown(back)) reveal(back.address);
}


// ---- The keyboard ----

/** Whether letters are written into it. */
export const isWritten = (target) => target.matches?.("input:not([type=checkbox]), textarea, select");

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("who").open) return;
  if (event.target === search) return onSearchKey(event);
  if (isWritten(event.target) && event.key !== "Escape") return;
  if (event.key === "Escape") return close();
  // Single letters act only on the list, so that they never surprise a person in another control (WCAG 2.1.4).
  const onList = tbody.contains(event.target);
  const inPanel = panel.contains(event.target);
  const nowhere = event.target === document.body || event.target.id === "undo";
  if (!onList && !inPanel && !nowhere) return;
  if (event.key === "/") {
    event.preventDefault();
    search.focus();
    search.select();
  } else if (event.key in ACTS) {
    event.preventDefault();
    if (!event.repeat) actByKey(ACTS[event.key], onList || inPanel);
  } else if (event.key in VERDICTS) {
    const item = store.get(openUid()); // only of a study whose findings are seen
    if (!item || event.repeat || nowhere) return;
    event.preventDefault();
    judge(item, VERDICTS[event.key]);
  } else if (event.key === "o") {
    event.preventDefault();
    const item = store.get(openUid() ?? currentUid());
    if (item && !event.repeat && (onList || inPanel)) openInViewer(...withPrior(item));
  } else if (event.key in STEPS) {
    const isLetter = event.key === "j" || event.key === "k";
    if (inPanel && !isLetter) return; // these keys scroll the panel
    if (nowhere && (event.key === "Home" || event.key === "End")) return;
    event.preventDefault();
    step(STEPS[event.key]);
  }
}

/** From the search a key leads into what it found. */
function onSearchKey(event) {
  const leads = event.key === "Enter" || event.key === "ArrowDown" || (event.key === "Escape" && !search.value);
  if (!leads || event.isComposing) return;
  event.preventDefault();
  search.blur();
  if (event.key === "Escape") rowOf(currentUid())?.querySelector(".name").focus();
  else step(-Infinity);
}

/** What a key does with the study that is open, or that the keyboard is on. */
export function actByKey(state, isChosen) {
  if (state === "unread" && canUndo()) {
    takeBack();
    return;
  }
  const item = store.get(openUid() ?? currentUid());
  if (!item || !isChosen) return; // no study is claimed or read that nobody has gone to
  if (state === "unread" && !isMine(item)) return;
  const left = lastLeft();
  if (left && performance.now() - left.at < SURPRISE_MS) {
    notice(`${nameOf(left.item)} has just left the list. Press again for ${nameOf(item)}.`);
    return;
  }
  doAct(item, state);
}

// ---- The pointer ----

function onVerdictButton({ target }) {
  const button = target.closest("button[data-verdict]");
  const item = button && store.get(openUid());
  if (item) judge(item, button.dataset.verdict, button.closest("[data-finding]").dataset.finding);
}

function onActButton(event) {
  const button = event.target.closest("button[data-act]");
  const item = button && store.get(button.closest("tr")?.dataset.uid ?? openUid());
  if (item) doAct(item, button.dataset.act);
  return Boolean(button);
}

let clicked = null; // address of the study of the first click of what may be a double one

function onRowClick(event) {
  const row = event.target.closest("tr");
  const isMouse = event.detail > 0;
  if (!row || (isMouse && String(getSelection()))) return; // marking a patient ID to copy it is no click
  if (isMouse && !isSteady(row)) return; // it moved under the pointer: another one was meant
  const { uid } = row.dataset;
  setCurrent(uid);
  if (onActButton(event)) return;
  clicked = uid;
  row.querySelector(".name").focus({ preventScroll: true });
  setOpen(openUid() === uid ? null : uid, !isMouse);
}

/**
 * A double click on a row opens its film. The first click has opened the panel, which may now lie under the pointer:
 * the second one means nothing that it hits.
 */
function onAnyClick(event) {
  const uid = clicked;
  if (event.detail < 2) {
    clicked = null;
    return;
  }
  const item = store.get(uid);
  if (!item) return;
  event.preventDefault();
  event.stopPropagation();
  if (event.detail > 2) return;
  getSelection().removeAllRanges(); // a double click marks a word, too
  setOpen(uid);
  openInViewer(...withPrior(item));
}

export function startKeys() {
  document.addEventListener("click", onAnyClick, { capture: true });
  tbody.addEventListener("click", onRowClick);
  tbody.addEventListener("focusin", (event) => setCurrent(event.target.closest("tr").dataset.uid));
  panel.addEventListener("click", (event) => {
    onActButton(event);
    onVerdictButton(event);
    onViewerLink(event);
  });
  document.addEventListener("keydown", onKey);
  byId("close").addEventListener("click", close);
  byId("undo").addEventListener("click", takeBack);
  byId("overdue-longest").addEventListener("click", (event) => {
    const line = event.target.closest("li");
    if (line) reveal(line.dataset.uid);
  });
}
