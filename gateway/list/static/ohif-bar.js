// The bar under a study in OHIF: what stands on the list about it, and claim, read and next as on the list's own page,
// so that one reads from film to film.

import { put, readerName, refusal, seenAt, setReaderName } from "./claims.js";
import { ask, askJson } from "./feed.js";
import { withPrior } from "./store.js";
import { beingRead, flagOf, personName } from "./words.js";

const LIMIT = 20; // studies of one question; the next one is nearly always the first
const RENEW_MS = 60_000;
const SURPRISE_MS = 1_500; // a key that is pressed so soon after a study has come was meant for the one before
const SKIPPED = "firstread.skipped"; // studies that were passed over in this window
const LEFT = "firstread.left"; // the study that was read last in this window
const UNDO_MS = 600_000; // in which the last reading can be taken back here
const HEIGHT = 36;

const STYLE = `
.firstread-bar { position: fixed; inset: auto 0 0 0; height: ${HEIGHT}px; z-index: 40; display: flex; align-items: center;
  gap: 8px; padding: 0 8px; box-sizing: border-box; background: #090c29; border-top: 1px solid #3a3f99; color: #fff;
  font: 13px/1.2 Inter, sans-serif; white-space: nowrap; }
.firstread-bar[hidden], .firstread-bar [hidden] { display: none; }
.firstread-bar .said { overflow: hidden; text-overflow: ellipsis; flex: 1; }
.firstread-bar button { padding: 4px 10px; border: 1px solid #5acce6; border-radius: 4px; background: none; color: #5acce6; }
.firstread-bar button:hover, .firstread-bar button:focus-visible { background: #5acce6; color: #090c29; }
.firstread-bar input { width: 14em; padding: 3px 6px; border: 1px solid #5acce6; border-radius: 4px; background: #000; }
.firstread-bar [data-urgency="critical"] { color: #ff8a80; }
.firstread-bar [data-urgency="urgent"] { color: #ffcc80; }
body:has(.firstread-bar:not([hidden])) #root [style*="100vh"] { height: calc(100vh - 52px - ${HEIGHT}px) !important; }
`; // OHIF gives its viewports all that its head of 52 px leaves

const KEYS = { C: "reading", R: "read", n: "next", j: "skip", u: "unread" }; // c and r turn films in OHIF

const { flags, reader: signedIn } = window.firstread;
const me = () => signedIn || readerName();
const kept = (key, otherwise) => JSON.parse(sessionStorage.getItem(key) ?? "null") ?? otherwise;
const keep = (key, value) => sessionStorage.setItem(key, JSON.stringify(value));

let uid = ""; // of the study that is open; "" in OHIF's list
let item = null; // what the list tells of it; null where it tells nothing
let cameAt = 0;
let isBusy = false;
let bar = null;
let parts = {};

/** The study that was read last in this window, for as long as that can be taken back; or null. */
function lastRead() {
  const left = kept(LEFT, null);
  return left && Date.now() - left.at < UNDO_MS ? left : null;
}

const nameOf = (study) => personName(study.patient_name).shown;
const isMine = () => item?.reading.state === "reading" && item.reading.by === me();

// ---- What it looks like ----

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function build() {
  const button = (act, text, key) =>
    element("button", { type: "button", textContent: text, title: `${text} (${key})`, onclick: () => press(act) });
  parts = {
    name: element("bdi"),
    flag: element("b"),
    said: element("span", { className: "said" }),
    notice: element("span", { role: "status" }),
    who: element("input", { placeholder: "Your name, then Enter", maxLength: 64, hidden: true, onkeydown: onName }),
    unread: button("unread", "Put back", "u"),
    reading: button("reading", "Claim", "Shift+C"),
    read: button("read", "Read", "Shift+R"),
    skip: button("skip", "Next unread", "j"),
    next: button("next", "Read and next", "n"),
  };
  parts.who.setAttribute("aria-label", "Your name");
  bar = element("div", { className: "firstread-bar", hidden: true }, ...Object.values(parts));
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Reading");
  document.head.append(element("style", { textContent: STYLE }));
  document.body.append(bar);
  document.addEventListener("keydown", onKey, { capture: true });
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
  setInterval(renew, RENEW_MS);
}

function render() {
  bar.hidden = !uid;
  const urgency = item ? flagOf(item) : "";
  parts.name.textContent = item ? nameOf(item) : "";
  parts.flag.textContent = flags[urgency] ?? "";
  parts.flag.dataset.urgency = urgency;
  const state = item?.reading.state;
  const by = state === "read" ? `read by ${item.reading.by}` : item && beingRead(item.reading);
  parts.said.textContent = item ? [item.reason, by].filter(Boolean).join(" \u00b7 ") : "Not on Firstread's list";
  parts.said.title = parts.said.textContent;
  const isOpen = state === "unread" || state === "prior" || state === "reading";
  parts.reading.hidden = !isOpen || isMine();
  parts.read.hidden = parts.next.hidden = !isOpen;
  parts.unread.hidden = !isMine() && state !== "read" && !lastRead();
}

const notice = (text) => (parts.notice.textContent = text);

// ---- What is known ----

/** Ask what the list tells of the study that is open. */
async function look() {
  if (!uid) return;
  const asked = uid;
  try {
    const response = await ask(`worklist/${encodeURIComponent(asked)}`);
    const answer = await response.json();
    if (asked !== uid) return;
    item = response.ok ? answer : null;
    if (!response.ok && response.status !== 404) notice(answer.detail ?? `the gateway answered ${response.status}`);
  } catch {
    notice("The gateway does not answer.");
  }
  render();
}

/** A claim holds as long as its study is open here. */
async function renew() {
  await look();
  if (!isMine()) return;
  try {
    await put(item.address, "reading", me());
  } catch {
    // The next try comes long before the claim lapses.
  }
}

/** The first study in reading order that nobody reads, and that was not passed over unless all were; or null. */
async function nextUnread() {
  const here = item?.address ?? uid;
  for (const passed of [new Set([...kept(SKIPPED, []), here]), new Set([here])]) {
    for (let offset = 0, more = true; more; offset += LIMIT) {
      const { items } = await askJson(`worklist?limit=${LIMIT}&offset=${offset}`);
      const next = items.find((one) => one.reading.state === "unread" && !passed.has(one.address));
      if (next) return next;
      more = items.length === LIMIT;
    }
    keep(SKIPPED, []);
  }
  return null;
}

// ---- What is done ----

async function goOn() {
  const next = await nextUnread();
  if (next) location.assign(`/viewer/viewer?StudyInstanceUIDs=${withPrior(next).map(encodeURIComponent).join(",")}`);
  else notice("Nothing else is to be read.");
}

function askName() {
  parts.who.hidden = false;
  parts.who.focus();
  notice("Say who reads, then press again.");
}

function onName({ key, target }) {
  if (key !== "Enter" || !target.value.trim()) return;
  setReaderName(target.value.trim());
  target.hidden = true;
  notice("");
}

/** Tell the gateway; whether it has taken that down. */
async function change(study, state) {
  const response = await put(study.address, state, me(), state === "read" ? seenAt(study, me()) : undefined);
  const answer = await response.json();
  if (!response.ok) {
    notice(refusal(response, answer, nameOf(study), study));
    return false;
  }
  if (study.address === item?.address) item = answer;
  return true;
}

async function act(state) {
  if (state === "skip") {
    keep(SKIPPED, [...kept(SKIPPED, []), item?.address ?? uid]);
    return goOn();
  }
  const left = lastRead();
  if (state === "unread" && left && !isMine()) {
    if (!(await change(left, "unread"))) return;
    keep(LEFT, null);
    notice(`Put back: ${nameOf(left)}.`);
    return;
  }
  if (!item || !(await change(item, state === "next" ? "read" : state))) return;
  if (state === "unread") notice("Put back.");
  if (state === "read" || state === "next") {
    keep(LEFT, { address: item.address, patient_name: item.patient_name, at: Date.now() });
    notice(`${nameOf(item)}: read.`);
  }
  if (state === "next") await goOn();
}

async function press(state) {
  if (isBusy || !uid) return undefined;
  if (state !== "skip" && !me()) return askName();
  const isFinal = state === "read" || state === "next";
  if (isFinal && performance.now() - cameAt < SURPRISE_MS) {
    return notice(`${item ? nameOf(item) : "This study"} has just been opened. Press again.`);
  }
  isBusy = true;
  try {
    await act(state);
  } catch {
    notice("Not done: the gateway did not answer. Try again.");
  }
  isBusy = false;
  return render();
}

function onKey(event) {
  const isTyping = event.target.closest?.("input, textarea, select, [contenteditable], [role=dialog]");
  if (!uid || isTyping || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
  event.preventDefault();
  event.stopPropagation();
  if (!event.repeat) press(KEYS[event.key]);
}

/**
 * Say what is open.
 *
 * @param href address of OHIF with the study; "" for its list, which needs no bar.
 */
export async function show(href) {
  if (!bar) build();
  uid = href ? (new URL(href).searchParams.get("StudyInstanceUIDs") ?? "").split(",")[0] : "";
  item = null;
  const left = lastRead();
  notice(left ? `${nameOf(left)}: read.` : "");
  render();
  await look();
  cameAt = performance.now();
}
