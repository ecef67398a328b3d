// The reading list within OHIF's study list: OHIF draws the rows, finds by its own filters, and pages; this says which
// studies there are, where each stands and why. The order is the one of the list's own page, from the same events.

import { listen } from "./feed.js";
import * as store from "./store.js";
import { withPrior } from "./store.js";
import { beingRead, flagOf, waiting } from "./words.js";

const ROOT = new URL("..", import.meta.url);
const TOGETHER_MS = 1_000; // changes that come close together are shown at once
const STEADY_MS = 1_500; // no row moves under a pointer that is on its way to it
const RETRY_MS = 5_000;
const MINUTE_MS = 60_000; // waiting times go on
const PATIENCE_MS = 60_000; // a PACS takes its time over thousands of studies
const AT_ONCE = 40; // UIDs of one question
const BEHIND = 1e9; // every place on the list
const PRIVATE = { flag: "00091001", place: "00091002", reading: "00091003" };
const FLAGS = { CRITICAL: "critical", URGENT: "urgent", "NO AI FLAG": "none" };
const READINGS = { READ: "Read", PRIOR: "Prior" };

const { flags, states } = window.firstread;

let found = null; // what the present filters found: {key, rows, remaining}; rows by patient and UID
let isWhole = false; // whether the list is known from its beginning to its end
let isOutOfDate = false; // whether events were missed, so that everything is to be asked again
const changed = new Set(); // UIDs of studies that are not as they were found
let link = "connecting";
let trouble = "";
let movedAt = -Infinity;
let timer = null;
let redraw = null; // makes OHIF ask again; null while its list is not on the screen
let tellStatus = () => {};

// ---- What is told of a study ----

const textOf = (dataset, tag) => String(dataset[tag]?.Value?.[0] ?? "");
const identityOf = (uid, patientId) => `${uid}\n${patientId}`; // two patients may share a UID
const identityOfItem = (item) => identityOf(item.study_instance_uid, item.patient_id);
const isFound = (item) => Boolean(found?.rows.has(identityOfItem(item)));

const stateOf = (item) => [states[item.state], beingRead(item.reading)].filter(Boolean).join(", ");

/** A row of a study that is on the list, at its place. */
const listed = (row, item, place) => ({
  ...row,
  place,
  order: place,
  flag: flags[flagOf(item)],
  urgency: flagOf(item),
  state: stateOf(item),
  reason: item.reason,
  waiting: waiting(item.received_at),
  waitingSince: Date.parse(item.received_at),
  films: withPrior(item),
});

/** One of any other study, behind all that are listed. */
function unlisted(row, told, order) {
  const urgency = FLAGS[told.flag] ?? (told.reading ? "unassessed" : "");
  return {
    ...row,
    place: null,
    order,
    flag: flags[urgency] ?? "",
    urgency,
    state: READINGS[told.reading] ?? "",
    reason: "",
    waiting: "",
    waitingSince: Infinity,
    films: [row.studyInstanceUid],
  };
}

function rows() {
  const items = new Map(store.inOrder().map((item, at) => [identityOfItem(item), [item, at + 1]]));
  return [...found.rows.values()].map(({ row, told, at }) => {
    const [item, place] = items.get(identityOf(row.studyInstanceUid, row.mrn)) ?? [];
    return item ? listed(row, item, place) : unlisted(row, told, told.place || BEHIND + at);
  });
}

// ---- What OHIF asks ----

async function query(parameters) {
  const address = new URL("dicom-web/studies", ROOT);
  for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
  const response = await fetch(address, {
    cache: "no-store",
    headers: { Accept: "application/dicom+json" },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const answer = response.status === 204 ? [] : await response.json();
  if (!response.ok) throw new Error(answer.detail ?? `the gateway answered ${response.status}`);
  const [, remaining = "0"] = /There are (\d+) additional results/.exec(response.headers.get("Warning") ?? "") ?? [];
  return { datasets: answer, remaining: Number(remaining) };
}

function keep(rowsByIdentity, source, datasets, from) {
  source.query.studies.processResults(datasets).forEach((row, at) => {
    const told = Object.fromEntries(Object.entries(PRIVATE).map(([name, tag]) => [name, textOf(datasets[at], tag)]));
    told.place = Number(told.place);
    rowsByIdentity.set(identityOf(row.studyInstanceUid, row.mrn), { row, told, at: from + at });
  });
}

/** All that the filters find on the list, and as much behind it as the gateway tells at once. */
async function findAll(source, filters) {
  changed.clear();
  isOutOfDate = false;
  const all = { key: JSON.stringify(filters), rows: new Map(), remaining: 0 };
  for (let offset = 0, more = true; more; ) {
    const { datasets, remaining } = await query({ ...filters, offset });
    keep(all.rows, source, datasets, offset + 1);
    all.remaining = remaining;
    offset += datasets.length;
    more = remaining > 0 && datasets.length > 0 && Boolean(textOf(datasets.at(-1), PRIVATE.place));
  }
  found = all;
}

/** Only what has changed is asked for again; what the filters no longer find, or the PACS no longer has, goes. */
async function findChanged(source, filters) {
  const uids = [...changed];
  for (let start = 0; start < uids.length; start += AT_ONCE) {
    const some = uids.slice(start, start + AT_ONCE);
    const { datasets } = await query({ ...filters, StudyInstanceUID: some.join(",") });
    for (const [identity, { row }] of found.rows) if (some.includes(row.studyInstanceUid)) found.rows.delete(identity);
    keep(found.rows, source, datasets, 0);
    for (const uid of some) changed.delete(uid);
  }
}

/**
 * What OHIF's data source answers to a search for studies.
 *
 * @param source the DICOMweb data source that is asked otherwise; its words for filters and rows are used.
 * @param asked OHIF's filters.
 */
export async function search(source, asked) {
  const options = { supportsFuzzyMatching: false, supportsWildcard: true };
  const { limit, offset, ...filters } = source.query.studies.mapParams(asked, options);
  const isKnown = found?.key === JSON.stringify(filters) && !isOutOfDate;
  try {
    await (isKnown ? findChanged(source, filters) : findAll(source, filters));
    trouble = "";
  } catch (error) {
    if (!isKnown && found?.key !== JSON.stringify(filters)) throw error; // OHIF says so, and asks whether to try again
    trouble = `not all is as of now: ${error.message}`;
    again(RETRY_MS);
  }
  sayStatus();
  return rows();
}

/** The two studies, or the one, that a row of OHIF's list opens. */
export const filmsOf = (row) => row.films ?? [row.studyInstanceUid];

// ---- What the events say ----

function again(delay = TOGETHER_MS) {
  timer ??= setTimeout(() => {
    timer = null;
    if (!redraw || document.visibilityState !== "visible") return;
    if (performance.now() - movedAt < STEADY_MS) again();
    else redraw();
  }, delay);
}

function touch(item) {
  changed.add(item.study_instance_uid);
  again();
}

const hear = {
  item(item) {
    store.put(item);
    if (isFound(item)) again();
    else touch(item);
  },
  gone(uid) {
    const item = store.get(uid);
    if (item && store.drop(uid)) touch(item);
  },
  addressOf: store.addressOf,
  known: store.size,
  counts: () => {},
  page(items, { last }) {
    if (!isWhole) store.setBoundary(last);
    for (const item of items) store.put(item);
  },
  whole(uids) {
    store.setBoundary(null);
    store.keepOnly(uids);
    isOutOfDate = isWhole || !store.inOrder().every(isFound); // events were missed, or came before what was found
    isWhole = true;
    again(0);
  },
  link(said) {
    link = said;
    sayStatus();
  },
};

function sayStatus() {
  const more = found?.remaining ?? 0;
  const words = { connecting: "Connecting", live: "Live", reconnecting: "Not live: reconnecting" };
  const rest = more ? `${more} more in the PACS, not on the reading list: filter to find them` : "";
  tellStatus([words[link], trouble, rest].filter(Boolean).join(". "));
}

let isListening = false;

/**
 * OHIF's list is on the screen, or no longer.
 *
 * @param draw makes OHIF ask again; null once its list is gone.
 * @param say is told how the list stands, in words.
 */
export function show(draw, say = () => {}) {
  redraw = draw;
  tellStatus = say;
  if (!draw) return;
  sayStatus();
  again(0);
  if (isListening) return;
  isListening = true;
  listen(hear);
  setInterval(again, MINUTE_MS);
  document.addEventListener("pointermove", ({ target }) => {
    if (target.closest("tbody")) movedAt = performance.now();
  });
  document.addEventListener("visibilitychange", () => again(0));
}
