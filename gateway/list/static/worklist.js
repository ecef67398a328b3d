// The reading list, live. The server draws its first rows; from then on the page follows GET /worklist and its events.
// Everything from the outside is written as text, never as markup.

import { showFindings, tickDetails } from "./details.js";
import { startDictation } from "./dictation.js";
import { ask, listen, refresh } from "./feed.js";
import { isOverdue, isTimed, startFilters } from "./filters.js";
import { askScope, heardOf } from "./findings.js";
import { startKeys } from "./keys.js";
import { knowsAll, rankOf, render, renderOverdue, scheduleRender, setCounts } from "./list.js";
import { countPriors, startPriors } from "./priors.js";
import { forgetLost, startReadings } from "./readings.js";
import { startReadToday } from "./readtoday.js";
import { drawFrom, drawMore, expectRise, tbody, tickRows } from "./rows.js";
import { startSession } from "./session.js";
import * as store from "./store.js";
import { byId } from "./words.js";

const TICK_MS = 5_000;
const READY_MS = 60_000;
const PLACES_MS = 10_000; // after a change, the places that are told of other rows may be wrong for this long

function tick() {
  if (isTimed()) render();
  tickRows(isOverdue);
  tickDetails();
  renderOverdue();
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
    short: `Live, but new studies or scores may be missing: ${missing}`,
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
  const uid = item.address;
  const from = rankOf(uid);
  const isNew = !store.get(uid);
  const rises = store.put(item);
  if (item.state === "failed") byId("failed").hidden = false;
  if (rises && from) expectRise(uid, from, scheduleRender);
  if (rises || isNew) placesChanged();
  heardOf(item.model, showFindings);
  scheduleRender();
}

function onGone(uid) {
  if (store.drop(uid)) placesChanged();
  scheduleRender();
}

const hear = {
  item: onItem,
  gone: onGone,
  addressOf: store.addressOf,
  known: store.size,
  link: showLink,
  counts(counts) {
    setCounts(counts.listed);
    countPriors(counts.priors);
    scheduleRender();
  },
  page(items, { last, total, counts }) {
    if (!knowsAll()) store.setBoundary(last);
    for (const item of items) store.put(item);
    setCounts(total);
    countPriors(counts.priors);
    render();
  },
  whole(uids) {
    store.setBoundary(null);
    store.keepOnly(uids);
    setCounts(uids.size, true);
    forgetLost(store.get);
    render();
  },
};

let asked = 0; // how often: only the answer to the last question counts

/** Ask GET /ready which of the parts behind the gateway do not answer, or are full, and say so. */
async function checkGateway() {
  const parts = { database: "the database", broker: "the broker", orthanc: "Orthanc", feed: "the intake", work: "the AI" };
  const disks = { disk: "Firstread's disk", pacs_disk: "Orthanc's disk" };
  const mine = ++asked;
  try {
    const { checks } = await (await ask("ready")).json();
    if (mine !== asked) return;
    const wrong = (named) => Object.keys(named).filter((key) => checks[key]?.ok === false).map((key) => named[key]).join(" and ");
    const [silent, full] = [wrong(parts), wrong(disks)];
    missing = [silent && `no answer from ${silent}`, full && `hardly any room on ${full}`].filter(Boolean).join(", ");
    showLink();
  } catch {
    // No answer at all shows in the list's own connection.
  }
}

// ---- The beginning ----

document.addEventListener("reader", render);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && checkGateway());
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
startFilters(() => {
  drawFrom(0);
  render();
});
startKeys();
startDictation();
startReadings();
startSession();
startPriors();
startReadToday();
askScope(showFindings);
checkGateway();
listen(hear);
document.documentElement.dataset.begun = "true";
