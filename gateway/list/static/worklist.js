// The reading list, live. The server draws its first rows; from then on the page follows GET /worklist and its events.
// Everything from the outside is written as text, never as markup.

import { panel, showDetails, tickDetails } from "./details.js";
import { ask, listen, refresh } from "./feed.js";
import { countPriors, startPriors } from "./priors.js";
import { act, forgetLost, isMine, notice, startReadings, undo } from "./readings.js";
import { drawFrom, drawMore, drawRows, expectRise, isSteady, rowOf, tbody, tickRows } from "./rows.js";
import * as store from "./store.js";
import { byId, counted, fill, fromTemplate, now, personName, waiting } from "./words.js";

const TICK_MS = 5_000;
const READY_MS = 60_000;
const PLACES_MS = 10_000; // after a change, the places that are told of other rows may be wrong for this long
const LONGEST = 5; // studies that the strip names
const CONTEXT = 20; // rows above the one that is gone to
const SURPRISE_MS = 1_500; // a key that is pressed so soon after a row has left was meant for that one

const TARGET_MS = 1000 * Number(document.body.dataset.targetS);

let current = null; // study_instance_uid that the keyboard is on
let open = null; // study_instance_uid in the details panel
let shownState = ""; // "" shows every state
let onlyOverdue = false;
let listed = 0; // studies to be read, by the server's count
let isWhole = false; // whether this page knows all of them
let ranks = new Map(); // study_instance_uid -> place, from 1, as it was last drawn
let left = null; // the row with the keyboard that left the list without this reader's doing, and when
let doing = null; // study_instance_uid of this reader's last act
let modelSha = byId("scope").dataset.sha256;

const isOverdue = (item) => now() - Date.parse(item.received_at) > TARGET_MS;
const nameOf = (item) => personName(item.patient_name).shown;
const isWanted = (item) => (!shownState || item.state === shownState) && (!onlyOverdue || isOverdue(item));

// ---- Drawing ----

let scheduled = false;
function scheduleRender() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(render, 30); // one drawing for a burst of events
}

function placed() {
  const pairs = store.inOrder().map((item, index) => ({ item, rank: index + 1 }));
  ranks = new Map(pairs.map(({ item, rank }) => [item.study_instance_uid, rank]));
  return pairs.filter(({ item }) => isWanted(item));
}

function render() {
  scheduled = false;
  const wanted = placed();
  const before = rowOf(current);
  const at = before ? [...tbody.rows].indexOf(before) : 0;
  const hadFocus = Boolean(before?.contains(document.activeElement));
  byId("worklist").hidden = !store.size();
  byId("empty").hidden = Boolean(store.size()) || !isWhole;
  byId("none-shown").hidden = !store.size() || Boolean(wanted.length);
  drawRows(wanted, isOverdue);
  if (!rowOf(current)) passOn(before, at, hadFocus);
  renderCounts();
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

function renderCounts() {
  const order = store.inOrder();
  const toRead = isWhole ? store.size() : listed;
  for (const button of byId("filters").children) {
    const { state } = button.dataset;
    button.querySelector("b").textContent = state ? order.filter((item) => item.state === state).length : toRead;
    button.setAttribute("aria-pressed", String(state === shownState));
  }
  const flagged = (key) => order.filter((item) => item.urgency === key).length;
  const parts = [`${toRead} to be read`, `${flagged("critical")} flagged critical`, `${flagged("urgent")} flagged urgent`];
  byId("tally").textContent = isWhole ? parts.join(", ") : parts[0];
  document.title = `${toRead ? `(${toRead}) ` : ""}Reading list · Firstread`;
}

/** The strip of those that wait beyond the target, whatever their place in the list. */
function renderOverdue() {
  const overdue = store.arrivedBefore(now() - TARGET_MS);
  byId("overdue").hidden = !overdue.length && !onlyOverdue;
  byId("overdue-count").textContent = counted(overdue.length, "study waits", "studies wait");
  byId("only-overdue").hidden = false;
  byId("only-overdue").setAttribute("aria-pressed", String(onlyOverdue));
  const key = overdue.slice(0, LONGEST).map((item) => `${item.study_instance_uid} ${waiting(item.received_at)}`).join();
  const list = byId("overdue-longest");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const at = [...list.children].findIndex((line) => line.contains(document.activeElement));
  list.replaceChildren(
    ...overdue.slice(0, LONGEST).map((item) => {
      const line = fromTemplate("longest").firstElementChild;
      line.dataset.uid = item.study_instance_uid;
      fill(line, { name: nameOf(item), waiting: waiting(item.received_at) });
      return line;
    }),
  );
  if (at >= 0) list.children[Math.min(at, list.children.length - 1)]?.firstElementChild.focus({ preventScroll: true });
}

function renderSelection() {
  for (const row of tbody.rows) {
    const { uid } = row.dataset;
    for (const button of row.querySelectorAll("button")) button.tabIndex = uid === current ? 0 : -1;
    row.querySelector(".name").setAttribute("aria-expanded", String(uid === open));
    row.classList.toggle("selected", uid === open);
  }
  const item = store.get(open);
  if (!item) open = null;
  showDetails(item);
}

function tick() {
  tickRows(isOverdue);
  tickDetails();
  renderOverdue();
}

// ---- The keyboard and the pointer ----

/** Open or close the panel, which changes every row's height, and leave the current row under the reader's eyes. */
function setOpen(uid) {
  const top = () => rowOf(current)?.getBoundingClientRect().top ?? 0;
  const before = top();
  open = uid;
  renderSelection();
  scrollBy({ top: top() - before, behavior: "instant" });
}

function close() {
  if (open === null) return;
  setOpen(null);
  rowOf(current)?.querySelector(".name").focus({ preventScroll: true });
}

function goTo(uid) {
  current = uid;
  if (open !== null) open = uid; // the panel follows
  renderSelection();
  rowOf(uid)?.querySelector(".name").focus();
}

function step(by) {
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

/** Go to a study wherever it stands. */
function reveal(uid) {
  const rank = ranks.get(uid);
  if (!rank) return;
  if (!rowOf(uid)) {
    shownState = "";
    drawFrom(rank - CONTEXT);
    render();
  }
  goTo(uid);
}

/** However the focus came to a row, the keys act on that one. */
function onRowFocus(event) {
  const { uid } = event.target.closest("tr").dataset;
  if (uid === current) return;
  current = uid;
  renderSelection();
}

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity };
const ACTS = { c: "reading", r: "read", u: "unread" };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("who").open) return;
  if (event.key === "Escape") return close();
  // Single letters act only on the list, so that they never surprise a person in another control (WCAG 2.1.4).
  const onList = tbody.contains(event.target);
  const inPanel = panel.contains(event.target);
  const nowhere = event.target === document.body || event.target.id === "undo";
  if (event.key in ACTS && (onList || inPanel || nowhere)) {
    event.preventDefault();
    if (!event.repeat) actByKey(ACTS[event.key], onList || inPanel);
    return;
  }
  const letter = event.key === "j" || event.key === "k";
  if (!(event.key in STEPS) || !(onList || nowhere || (inPanel && letter))) return;
  if (nowhere && (event.key === "Home" || event.key === "End")) return;
  event.preventDefault();
  step(STEPS[event.key]);
}

function actByKey(state, isChosen) {
  if (state === "unread" && undo()) return;
  const item = store.get(open ?? current);
  if (!item || !isChosen) return; // no study is claimed or read that nobody has gone to
  if (state === "unread" && !isMine(item)) return;
  if (left && performance.now() - left.at < SURPRISE_MS) {
    notice(`${nameOf(left.item)} has just left the list. Press again for ${nameOf(item)}.`);
    return;
  }
  doAct(item, state);
}

function doAct(item, state) {
  doing = item.study_instance_uid;
  act(item, state, state === "unread" ? "Put back" : "");
}

function onActButton(event) {
  const button = event.target.closest("button[data-act]");
  const item = button && store.get(button.closest("tr")?.dataset.uid ?? open);
  if (item) doAct(item, button.dataset.act);
  return Boolean(button);
}

function onRowClick(event) {
  const row = event.target.closest("tr");
  const isMouse = event.detail > 0;
  if (!row || (isMouse && String(getSelection()))) return; // marking a patient ID to copy it is no click
  if (isMouse && !isSteady(row)) return; // it moved under the pointer: another one was meant
  current = row.dataset.uid;
  if (onActButton(event)) return;
  setOpen(open === current ? null : current);
  row.querySelector(".name").focus({ preventScroll: true });
}

// ---- What is heard ----

let asOf = "";
let missing = ""; // what the gateway itself lacks, so that a list that is live may yet be incomplete
let link = "connecting";
function showLink(heard = link, heardTime = null) {
  if (heardTime) asOf = heardTime.toLocaleTimeString();
  link = heard;
  const shown = link === "live" && missing ? "short" : link;
  const words = {
    connecting: "Connecting",
    live: "Live",
    short: `Live, but new studies or scores may be missing: no answer from ${missing}`,
    reconnecting: asOf ? `Not live: list as of ${asOf}, reconnecting` : "Not live: reconnecting",
  };
  const connection = byId("connection");
  connection.dataset.link = shown;
  if (connection.textContent !== words[shown]) connection.textContent = words[shown]; // it is read aloud at each change
}

let placesTimer = null;
function placesChanged() {
  placesTimer ??= setTimeout(() => {
    placesTimer = null;
    if (document.visibilityState === "visible") refresh(tbody.rows.length);
  }, PLACES_MS);
}

function onItem(item) {
  const uid = item.study_instance_uid;
  const from = ranks.get(uid);
  const isNew = !store.get(uid);
  const rises = store.put(item);
  if (rises && from) expectRise(uid, from, scheduleRender);
  if (rises || isNew) placesChanged();
  if (item.model && item.model.sha256 !== modelSha) askScope(item.model.sha256);
  scheduleRender();
}

function onGone(uid) {
  if (store.drop(uid)) placesChanged();
  scheduleRender();
}

const hear = {
  item: onItem,
  gone: onGone,
  known: store.size,
  link: showLink,
  counts(counts) {
    listed = counts.listed;
    countPriors(counts.priors);
    scheduleRender();
  },
  page(items, { last, total, counts }) {
    if (!isWhole) store.setBoundary(last);
    for (const item of items) store.put(item);
    listed = total;
    countPriors(counts.priors);
    render();
  },
  whole(uids) {
    store.setBoundary(null);
    store.keepOnly(uids);
    isWhole = true;
    forgetLost(store.get);
    render();
  },
};

/** Another model has judged a study: ask what that one looks for. */
async function askScope(sha256) {
  modelSha = sha256;
  try {
    const scope = await (await ask("worklist/scope")).json();
    const part = (name) => byId("scope").querySelector(`[data-scope="${name}"]`);
    part("none").hidden = Boolean(scope.sha256);
    part("critical").hidden = scope.can_be_critical || !scope.sha256;
    for (const name of ["looked_for", "unreliable", "not_looked_for"]) {
      part(name).hidden = !scope[name].length;
      fill(part(name), { [name]: scope[name].join(", ") });
    }
    fill(byId("scope"), { model: scope.model });
  } catch {
    modelSha = ""; // the next item asks again
  }
}

/** Ask GET /ready which of the parts behind the gateway do not answer, and say so. */
async function checkGateway() {
  const parts = { database: "the database", broker: "the broker", orthanc: "Orthanc" };
  try {
    const { checks } = await (await ask("ready")).json();
    missing = Object.keys(parts).filter((key) => checks[key]?.ok === false).map((key) => parts[key]).join(" and ");
    showLink();
  } catch {
    // No answer at all shows in the list's own connection.
  }
}

// ---- The beginning ----

tbody.addEventListener("click", onRowClick);
tbody.addEventListener("focusin", onRowFocus);
panel.addEventListener("click", onActButton);
document.addEventListener("keydown", onKey);
document.addEventListener("reader", render);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && checkGateway());
byId("close").addEventListener("click", close);
byId("filters").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  shownState = button.dataset.state;
  drawFrom(0);
  render();
});
byId("only-overdue").addEventListener("click", () => {
  onlyOverdue = !onlyOverdue;
  drawFrom(0);
  render();
});
byId("overdue-longest").addEventListener("click", (event) => {
  const line = event.target.closest("li");
  if (line) reveal(line.dataset.uid);
});
for (const where of ["before", "after"]) {
  const more = () => {
    drawMore(where === "after");
    render();
  };
  const rest = byId(`rest-${where}`);
  rest.firstElementChild.addEventListener("click", more);
  new IntersectionObserver(([seen]) => seen.isIntersecting && more(), { rootMargin: "600px 0px" }).observe(rest);
}
setInterval(tick, TICK_MS);
setInterval(checkGateway, READY_MS);
startReadings();
startPriors();
checkGateway();
listen(hear);
