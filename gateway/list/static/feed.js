// The connection to the gateway: the whole list once, page by page, and from then on what the events say. Each event
// bears a number, so that a connection that broke goes on where it was. Silence is never taken for peace: "live" is
// only what has been heard of in the last 15 s.

import { setClock } from "./words.js";

const ROOT = new URL("..", import.meta.url); // the gateway's, whichever page this is
const LIMIT = 500;
const OVERLAP = 50; // studies that leave between two pages of the list must not hide others
const SILENCE_MS = 14_000; // a heartbeat comes every 10 s, and silence is looked for each second
const PATIENCE_MS = 10_000; // a host that vanished or hangs closes no connection
const RETRY_MS = 3_000;
const LOOK_MS = 1_000;

let hear; // what the page does with what is heard
let source;
let heardAt = 0; // when anything was heard, by a clock that nobody sets
let number = null; // up to which everything has been heard
let isLoaded = false;
let isOpen = false; // whether this connection has given a sign of life
let isTroubled = false; // whether anything has failed since the list was last live
let heardTime = null; // by the wall clock, for people
let doubt = null; // the number at which this page's count and the server's differed
const told = new Map(); // what was heard while a list was on its way, which is newer: an item, or null if gone

export async function ask(path, options = {}) {
  const response = await fetch(new URL(path, ROOT), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  setClock(response);
  if (response.status === 401) logIn();
  return response;
}

/** The login has ended: to the log-in page, and from there back to this one. */
function logIn() {
  location.assign(new URL(`login?next=${encodeURIComponent(location.pathname + location.search)}`, ROOT));
}

export async function askJson(path) {
  const response = await ask(path);
  if (!response.ok) throw new Error(`GET ${path} answered ${response.status}`);
  return response.json();
}

/** What this page knows of a study from elsewhere than an event: the answer to its own request. */
export function tell(uid, item) {
  told.set(uid, item);
  if (item) hear.item(item);
  else hear.gone(uid);
}

// ---- The whole list ----

let loading = false;
let loadAgain = false;
let retry;

export async function load() {
  if (loading) {
    loadAgain = true;
    return;
  }
  loading = true;
  clearTimeout(retry);
  told.clear();
  try {
    const found = new Set();
    for (let offset = 0, more = true; more; offset += LIMIT - OVERLAP) {
      const page = await askJson(`worklist?limit=${LIMIT}&offset=${offset}`);
      for (const item of page.items) found.add(item.address);
      more = page.items.length === LIMIT;
      hear.page(page.items.map((item) => told.get(item.address) ?? item).filter(isListed), {
        last: more ? page.items.at(-1) : null,
        total: page.total,
        counts: page.counts,
      });
    }
    for (const [uid, item] of told) {
      if (item) found.add(uid);
      else found.delete(uid);
    }
    isLoaded = true;
    hear.whole(found);
    showLink();
  } catch {
    isLoaded = false;
    troubled();
    retry = setTimeout(load, RETRY_MS);
  } finally {
    loading = false;
    if (loadAgain) {
      loadAgain = false;
      load();
    }
  }
}

const isListed = (item) => !told.has(item.address) || told.get(item.address) !== null;

/** Ask for the first lines again: their places change with those of others. */
export async function refresh(count) {
  if (loading) return;
  told.clear();
  try {
    const page = await askJson(`worklist?limit=${Math.min(Math.max(count, 1), LIMIT)}`);
    if (loading) return;
    for (const item of page.items) if (!told.has(item.address)) hear.item(item);
  } catch {
    // It was only to say the same better; the events go on.
  }
}

// ---- The events ----

function heard() {
  heardAt = performance.now();
  heardTime = new Date();
  isOpen = true;
  showLink();
}

function troubled() {
  isTroubled = true;
  showLink();
}

function onHeartbeat(event) {
  number = Number(event.lastEventId);
  const counts = JSON.parse(event.data);
  heard();
  hear.counts(counts);
  if (!isLoaded || loading) return;
  if (hear.known() === counts.listed) doubt = null;
  else if (doubt === number) load();
  else doubt = number;
}

function connect() {
  source?.close();
  isOpen = false;
  source = new EventSource(new URL(number === null ? "worklist/events" : `worklist/events?after=${number}`, ROOT));
  source.addEventListener("item", (event) => {
    const item = JSON.parse(event.data);
    tell(item.address, item);
    heard();
  });
  source.addEventListener("gone", (event) => {
    tell(hear.addressOf(JSON.parse(event.data)), null);
    heard();
  });
  source.addEventListener("heartbeat", onHeartbeat);
  source.addEventListener("resync", load);
  source.addEventListener("error", onError);
}

function onError() {
  isOpen = false;
  troubled();
  // The browser tries again by itself unless the server answered with an error.
  if (source.readyState !== EventSource.CLOSED) return;
  setTimeout(connect, RETRY_MS);
  load(); // which says why, as where the login has ended
}

function watch() {
  if (performance.now() - heardAt < SILENCE_MS) return;
  heardAt = performance.now(); // of which the next try is given as much
  connect();
  troubled();
  load(); // where a proxy holds events back, the list is at least as of now
}

function showLink() {
  const isLive = isLoaded && isOpen;
  if (isLive) isTroubled = false;
  hear.link(isLive ? "live" : isTroubled ? "reconnecting" : "connecting", heardTime);
}

/**
 * Begin to listen.
 *
 * @param listener item(item), gone(uid), addressOf(what a gone event says), counts(counts), page(items, {last, total, counts}), whole(uids), known() -> how
 *   many studies the page knows, and link("connecting", "live" or "reconnecting", when anything was last heard).
 */
export function listen(listener) {
  hear = listener;
  heardAt = performance.now();
  connect();
  load(); // a proxy that holds events back must not leave the page without a list
  setInterval(watch, LOOK_MS);
}
