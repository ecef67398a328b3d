// The rows of the list: a part of it at a time, so that thousands freeze nothing, and moved so that nothing jumps under
// a pointer.

import { isMine, reader } from "./readings.js";
import {
  beingRead,
  byId,
  chipOf,
  counted,
  dayTime,
  fill,
  flagOf,
  fromTemplate,
  personName,
  sexAge,
  waiting,
  where,
} from "./words.js";

const AT_ONCE = 40; // that a key has drawn before it is answered
const CHUNK = 100;
const MOST = 400; // rows in the document; those beyond are drawn when the reader comes there
const RISEN_MS = 6_000;
const MOVE_MS = 450;
const STEADY_MS = 500; // a click on what has moved within this time meant another row

export const tbody = byId("rows");
const rows = new Map(); // address of a study -> its table row
const risen = new Map(); // address -> {from: rank, until: time} of a row that just moved up
const prefersStill = matchMedia("(prefers-reduced-motion: reduce)");
let start = 0; // the drawn part of what is wanted: from this place ...
let end = CHUNK; // ... up to this one
let isMoving = false; // whether that part has just been moved

for (const row of tbody.rows) rows.set(row.dataset.uid, row);

export const rowOf = (uid) => rows.get(uid);

/** Draw the part that begins here. */
export function drawFrom(place) {
  start = Math.max(place, 0);
  end = start + AT_ONCE;
  isMoving = true;
}

/** Draw further rows below the drawn ones, or above them. */
export function drawMore(isBelow) {
  if (isBelow) {
    end += CHUNK;
    start = Math.max(start, end - MOST);
  } else {
    start = Math.max(start - CHUNK, 0);
    end = Math.min(end, start + MOST);
  }
  isMoving = true;
}

/** The fields that a row and the details show alike. */
export function sharedFields(item) {
  const { shown, ideographic } = personName(item.patient_name);
  return {
    name: shown,
    ideographic,
    flag: chipOf(item),
    state: fromTemplate(`state-${item.state}`),
    order: item.order_priority === "ROUTINE" ? "" : item.order_priority,
    patient_id: item.patient_id,
    sex_age: sexAge(item),
    study_description: item.study_description,
    question: item.question,
    returned: item.reading.returned_for ? "Back on the list" : "",
    reading: beingRead(item.reading),
  };
}

/** Offer what this reader may do with a study. */
export function offerActs(root, item) {
  const acts = root.querySelector(".acts");
  const { state } = item.reading;
  const mayRead = state === "unread" || isMine(item);
  const offered = { reading: state === "unread", read: mayRead, next: mayRead, unread: isMine(item) };
  acts.hidden = document.body.dataset.mayRead === "no";
  for (const button of acts.children) {
    button.hidden = !offered[button.dataset.act];
    button.setAttribute("aria-label", `${button.textContent} ${personName(item.patient_name).shown}`);
  }
}

let described = 0;

/** Let a row's button be described by flag, order and reason, which its name does not say. */
function describe(row) {
  described += 1;
  const cells = ["flag", "order", "reason"].map((name) => row.querySelector(`td.${name}`));
  for (const cell of cells) cell.id = `${cell.className}-${described}`;
  row.querySelector(".name").setAttribute("aria-describedby", cells.map((cell) => cell.id).join(" "));
}

// An isolate of its own, so that a mark of direction in one text turns no other.
const isolated = (...texts) => texts.filter(Boolean).map((text) => `\u2068${text}\u2069`).join(" ");

/** What is cut short is told in whole under the pointer. */
function tellWhole(row, item) {
  const { shown, ideographic } = personName(item.patient_name);
  const { prior, prior_count: count, comparison } = item;
  row.querySelector("td.patient").title = isolated(shown, ideographic, item.patient_id);
  row.querySelector("td.study").title = isolated(
    item.study_description, where(item), item.modality, item.accession_number,
  );
  row.querySelector("td.question").title = isolated(item.question);
  row.querySelector("td.reason").title = isolated(item.reason);
  row.querySelector("td.acquired").title = item.acquired_at ? new Date(item.acquired_at).toLocaleString() : "";
  row.querySelector("td.prior").title = prior
    ? isolated(
        counted(Math.max(count, 1), "prior", "priors"), prior.study_description, prior.modality,
        comparison?.clash, ...(comparison?.lines ?? []),
      )
    : "";
}

function drawn(item) {
  const uid = item.address;
  let row = rows.get(uid);
  if (!row) {
    row = fromTemplate("study-row").firstElementChild;
    row.dataset.uid = uid;
    rows.set(uid, row);
  }
  if (!row.shownItem) describe(row);
  if (row.shownItem !== item || row.shownFor !== reader()) {
    row.shownItem = item;
    row.shownFor = reader();
    row.dataset.urgency = flagOf(item);
    row.dataset.priority = item.order_priority;
    row.dataset.reading = item.reading.state;
    row.classList.toggle("mine", isMine(item));
    row.querySelector(".waiting time").dateTime = item.received_at;
    row.querySelector(".acquired time").dateTime = item.acquired_at ?? "";
    fill(row, {
      ...sharedFields(item),
      where: where(item),
      acquired: dayTime(item.acquired_at),
      prior: item.prior?.study_date,
      prior_clash: item.comparison?.clash ? "clash" : "",
      reason: item.reason,
      waiting: waiting(item.received_at),
    });
    tellWhole(row, item);
    tellReading(row, item);
    offerActs(row, item);
  }
  return row;
}

function tellReading(row, item) {
  const said = beingRead(item.reading);
  fill(row, { reading: said });
  row.querySelector('[data-field="reading"]').title = isolated(said);
}

/**
 * Draw the part of these studies that is looked at.
 *
 * @param placed pairs of an item and its rank, in reading order.
 * @param isOverdue whether an item waits too long.
 */
export function drawRows(placed, isOverdue) {
  const focused = tbody.contains(document.activeElement) ? document.activeElement : null;
  const topBefore = new Map();
  for (const row of tbody.rows) topBefore.set(row, row.getBoundingClientRect().top);

  if (start && start >= placed.length) drawFrom(placed.length - AT_ONCE);
  const shown = placed.slice(start, end);
  const listed = new Set(shown.map(({ item }) => item.address));
  for (const [uid, row] of rows) {
    if (listed.has(uid)) continue;
    row.remove();
    rows.delete(uid);
  }
  let next = tbody.firstElementChild;
  for (const { item, rank } of shown) {
    const row = drawn(item);
    fill(row, { rank });
    row.toggleAttribute("data-overdue", isOverdue(item));
    markRise(item, row, rank);
    if (row === next) next = next.nextElementSibling;
    else tbody.insertBefore(row, next);
  }
  offerRest("before", start);
  offerRest("after", placed.length - start - shown.length);

  // A row that moves in the document loses the keyboard's focus.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  if (isMoving) hold(topBefore);
  else settle(topBefore);
  isMoving = false;
}

function offerRest(where, count) {
  const note = byId(`rest-${where}`);
  note.hidden = !count;
  note.firstElementChild.textContent = `Show ${Math.min(count, CHUNK)} of ${counted(count, "study", "studies")} ${where === "after" ? "below" : "above"}`;
}

/** Leave what stays drawn where it was, whatever was added or taken away above it. */
function hold(topBefore) {
  const row = [...tbody.rows].find((kept) => topBefore.get(kept) >= 0);
  if (row) scrollBy({ top: row.getBoundingClientRect().top - topBefore.get(row), behavior: "instant" });
}

/** A study is about to move up from this rank. */
export function expectRise(uid, from, again) {
  risen.set(uid, { from, until: Date.now() + RISEN_MS });
  setTimeout(again, RISEN_MS + 50);
}

function markRise(item, row, rank) {
  const uid = item.address;
  const rise = risen.get(uid);
  if (rise && Date.now() >= rise.until) risen.delete(uid);
  const marked = risen.has(uid) && rank < rise.from;
  if (marked && !row.classList.contains("risen")) {
    byId("news").textContent = `${personName(item.patient_name).shown} moved up from ${rise.from} to ${rank}. ${item.reason}`;
  }
  row.classList.toggle("risen", marked);
  fill(row, { rose: marked ? `▲ from ${rise.from}` : "" });
}

/** Note which rows moved, and let each slide from where it was to where it is (the FLIP technique). */
function settle(topBefore) {
  const slides = !prefersStill.matches && document.visibilityState === "visible";
  for (const row of tbody.rows) {
    const top = row.getBoundingClientRect().top;
    const before = topBefore.get(row);
    if (Math.abs((before ?? Infinity) - top) <= 1) continue;
    row.movedAt = performance.now();
    if (!slides || top > innerHeight + 200 || top < -200) continue;
    if (before === undefined) row.animate([{ opacity: 0 }, { opacity: 1 }], MOVE_MS);
    else {
      row.animate([{ transform: `translateY(${before - top}px)` }, { transform: "none" }], {
        duration: MOVE_MS,
        easing: "cubic-bezier(.2, 0, .1, 1)",
      });
    }
  }
}

/** Whether a row stands where it stood when a pointer set out for it. */
export const isSteady = (row) => !row.getAnimations().length && performance.now() - (row.movedAt ?? -Infinity) > STEADY_MS;

/** Let the times go on. */
export function tickRows(isOverdue) {
  for (const row of tbody.rows) {
    const item = row.shownItem;
    if (!item) continue;
    fill(row, { waiting: waiting(item.received_at) });
    tellReading(row, item);
    row.toggleAttribute("data-overdue", isOverdue(item));
  }
}
