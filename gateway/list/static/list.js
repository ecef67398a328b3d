// What of the list is drawn, and where the keyboard and the panel are.

import { focusDetails, panel, showDetails } from "./details.js";
import { clearFilters, drawFilters, isOverdue, isShown, overdue } from "./filters.js";
import { drawFrom, drawMore, drawRows, rowOf, tbody } from "./rows.js";
import * as store from "./store.js";
import { byId, counted, fill, fromTemplate, personName, waiting } from "./words.js";

const LONGEST = 5; // studies that the strip names
const CONTEXT = 20; // rows above the one that is gone to

let current = null; // address of the study that the keyboard is on
let open = null; // address of the study in the details panel
let listed = 0; // studies to be read, by the server's count
let isWhole = false; // whether this page knows all of them
let ranks = new Map(); // address -> place, from 1, as it was last drawn
let shown = []; // pairs of an item and its rank: all that the filters let through, in reading order
let left = null; // the row with the keyboard that left the list without this reader's doing, and when
let doing = null; // address of the study of this reader's last act

export const currentUid = () => current;
export const openUid = () => open;
export const rankOf = (uid) => ranks.get(uid);
export const nameOf = (item) => personName(item.patient_name).shown;
export const lastLeft = () => left;

/** This reader is about to do something with a study: its leaving is no surprise. */
export function expectLeaving(uid) {
  doing = uid;
}

/** What the server counts, and whether the page knows all of it. */
export function setCounts(count, knowsAll = isWhole) {
  listed = count;
  isWhole = knowsAll;
}

export const knowsAll = () => isWhole;

// ---- Drawing ----

let scheduled = false;
export function scheduleRender() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(render, 30); // one drawing for a burst of events
}

export function render() {
  scheduled = false;
  if (!store.size() && !isWhole) return; // what the server drew stands until the list is here
  const order = store.inOrder();
  const pairs = order.map((item, index) => ({ item, rank: index + 1 }));
  ranks = new Map(pairs.map(({ item, rank }) => [item.address, rank]));
  shown = pairs.filter(({ item }) => isShown(item));
  const before = rowOf(current);
  const at = before ? [...tbody.rows].indexOf(before) : 0;
  const hadFocus = Boolean(before?.contains(document.activeElement)) || panel.contains(document.activeElement);
  byId("worklist").hidden = !shown.length;
  byId("empty").hidden = Boolean(store.size()) || !isWhole;
  byId("none-shown").hidden = !store.size() || Boolean(shown.length);
  const isRenamed = store.nowAt(current) !== current;
  [current, open] = [store.nowAt(current), store.nowAt(open)];
  drawRows(shown, isOverdue);
  if (!rowOf(current)) passOn(before, at, hadFocus);
  else if (isRenamed && hadFocus && !panel.contains(document.activeElement)) {
    rowOf(current).querySelector(".name").focus({ preventScroll: true });
  }
  drawFilters(order, shown.length);
  renderCounts(order);
  renderOverdue();
  renderSelection();
}

/** The row that the keyboard was on is no longer drawn: its neighbour is the current one. */
function passOn(before, at, hadFocus) {
  const isGone = current !== null && !store.get(current);
  if (isGone && current !== doing && before?.shownItem) left = { item: before.shownItem, at: performance.now() };
  current = tbody.rows[Math.min(at, tbody.rows.length - 1)]?.dataset.uid ?? null;
  if (hadFocus && isGone) rowOf(current)?.querySelector(".name").focus({ preventScroll: true });
}

function renderCounts(order) {
  const toRead = isWhole ? store.size() : listed;
  const parts = [`${toRead} to be read`];
  if (isWhole) {
    const flagged = (key) => order.filter((item) => item.urgency === key).length;
    parts.push(`${flagged("critical")} flagged critical`, `${flagged("urgent")} flagged urgent`);
    const failed = order.filter((item) => item.state === "failed").length;
    if (failed) parts.push(`AI failed on ${failed}`);
  }
  byId("tally").textContent = parts.join(", ");
  document.title = `${toRead ? `(${toRead}) ` : ""}Reading list · Firstread`;
}

/** The strip of those that wait beyond the target, whatever their place in the list. */
export function renderOverdue() {
  const late = overdue();
  byId("overdue").hidden = !late.length;
  byId("overdue-count").textContent = counted(late.length, "study waits", "studies wait");
  const longest = late.slice(0, LONGEST);
  const key = longest.map((item) => `${item.address} ${waiting(item.received_at)}`).join();
  const list = byId("overdue-longest");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const at = [...list.children].findIndex((line) => line.contains(document.activeElement));
  list.replaceChildren(
    ...longest.map((item) => {
      const line = fromTemplate("longest").firstElementChild;
      line.dataset.uid = item.address;
      fill(line, { name: nameOf(item), waiting: waiting(item.received_at) });
      return line;
    }),
  );
  if (at >= 0) list.children[Math.min(at, list.children.length - 1)]?.firstElementChild.focus({ preventScroll: true });
}

const marked = new Set(); // rows that bear a mark of the selection

function renderSelection() {
  for (const row of marked) markRow(row, false, false);
  marked.clear();
  for (const row of [rowOf(current), rowOf(open)]) {
    if (!row) continue;
    const { uid } = row.dataset;
    markRow(row, uid === current, uid === open);
    marked.add(row);
  }
  const item = store.get(open);
  if (!item) open = null;
  showDetails(item);
}

function markRow(row, isCurrent, isOpen) {
  for (const button of row.querySelectorAll("button")) button.tabIndex = isCurrent ? 0 : -1;
  row.querySelector(".name").setAttribute("aria-expanded", String(isOpen));
  row.classList.toggle("selected", isOpen);
}

// ---- Going about ----

/** Open or close the panel, which may change every row's height, and leave the current row under the reader's eyes. */
export function setOpen(uid, takesFocus = false) {
  const top = () => rowOf(current)?.getBoundingClientRect().top ?? 0;
  const before = top();
  open = uid;
  renderSelection();
  scrollBy({ top: top() - before, behavior: "instant" });
  if (takesFocus && open !== null) focusDetails();
}

export function close() {
  if (open === null) return;
  setOpen(null);
  rowOf(current)?.querySelector(".name").focus({ preventScroll: true });
}

/** However the focus came to a row, the keys act on that one. */
export function setCurrent(uid) {
  if (uid === current) return;
  current = uid;
  renderSelection();
}

function goTo(uid, isOpen = open !== null) {
  current = uid;
  if (isOpen) open = uid; // the panel follows
  renderSelection();
  rowOf(uid)?.querySelector(".name").focus();
}

/** Go so many rows down the list, or to an end of it. */
export function step(by) {
  if (!tbody.rows.length) return;
  const inList = tbody.contains(document.activeElement) || open !== null;
  if (!Number.isFinite(by)) {
    drawFrom(by < 0 ? 0 : Infinity);
    render();
    goTo((by < 0 ? tbody.rows[0] : tbody.rows[tbody.rows.length - 1]).dataset.uid);
    return;
  }
  const indexOf = () => [...tbody.rows].indexOf(rowOf(current));
  const isAtEdge = indexOf() + by < 0 || indexOf() + by >= tbody.rows.length;
  if (isAtEdge && !byId(by < 0 ? "rest-before" : "rest-after").hidden) {
    drawMore(by > 0);
    render();
  }
  const to = indexOf() + (inList ? by : 0);
  goTo(tbody.rows[Math.min(Math.max(to, 0), tbody.rows.length - 1)].dataset.uid);
}

/** Go to a study wherever it stands, and whatever is filtered; with the panel, if that is open, or is to be. */
export function reveal(uid, isOpen = open !== null) {
  const item = store.get(uid);
  if (!item) return;
  if (!isShown(item)) clearFilters();
  if (!rowOf(uid)) {
    render();
    drawFrom(shown.findIndex((pair) => pair.item.address === uid) - CONTEXT);
    render();
  }
  goTo(uid, isOpen);
}

/** The studies that are shown, from the one after this on, and those before it last. */
export function onwards(uid) {
  const at = shown.findIndex((pair) => pair.item.address === uid);
  return [...shown.slice(at + 1), ...shown.slice(0, Math.max(at, 0))].map((pair) => pair.item.address);
}
