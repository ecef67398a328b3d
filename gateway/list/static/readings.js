// What this reader does with studies: claims, readings, and what is put back. A claim is renewed as long as this page
// is open. Nothing changes on the page before the gateway has said that it is so.

import { put, readerName, refusal, seenAt, setReaderName } from "./claims.js";
import { tell } from "./feed.js";
import { byId, personName } from "./words.js";

const RENEW_MS = 60_000;
const NOTICE_MS = 10_000; // in which a reading can be undone
const CLAIMS = "firstread.claims";

const signedIn = document.body.dataset.signedIn; // at the proxy; it says who asks, whatever is sent
const claims = new Set(JSON.parse(sessionStorage.getItem(CLAIMS) ?? "[]")); // studies that this page has claimed
const dialog = byId("who");
let undoable = null; // the item that was read last, for as long as the notice stands
let noticeTimer;

// ---- Who reads ----

export const reader = () => signedIn || readerName();
export const isMine = (item) => item.reading.state === "reading" && item.reading.by === reader();

function showReader() {
  const change = byId("change-name");
  if (!change) return;
  byId("reader-said").hidden = !reader();
  byId("reader-name").textContent = reader();
  change.hidden = false;
  change.textContent = reader() ? "Change" : "Say who reads";
}

let answerName = null;

function askName() {
  byId("who-name").value = reader();
  dialog.showModal();
  return new Promise((resolve) => {
    answerName = resolve;
  });
}

/** Whether it is known who reads; asks where nobody has said it yet. */
export const knowReader = async () => Boolean(reader()) || askName();

function onName(event) {
  event.preventDefault();
  const name = byId("who-name").value.trim();
  if (!name) return;
  setReaderName(name);
  showReader();
  document.dispatchEvent(new CustomEvent("reader"));
  dialog.close("said");
}

// ---- The notice ----

export function notice(text, item = null) {
  clearTimeout(noticeTimer);
  undoable = item;
  byId("notice").hidden = false;
  byId("notice-text").textContent = text;
  byId("undo").hidden = !item;
  noticeTimer = setTimeout(endNotice, NOTICE_MS);
}

function endNotice() {
  undoable = null;
  byId("notice").hidden = true;
  byId("undo").hidden = true;
}

/** Take back the last reading; the item that was taken back, or null. */
export async function undo() {
  const item = undoable;
  if (!item) return null;
  endNotice();
  return (await act(item, "unread", "Put back")) ? item : null;
}

export const canUndo = () => Boolean(undoable);

// ---- What is done ----

function keepClaim(uid, isClaimed) {
  if (isClaimed) claims.add(uid);
  else claims.delete(uid);
  sessionStorage.setItem(CLAIMS, JSON.stringify([...claims]));
}

/**
 * Claim a study ("reading"), say that it is read ("read"), or put it back ("unread").
 *
 * @param done what the notice says of it; nothing is said of a claim, which shows on its row.
 * @returns whether the gateway has taken it down.
 */
export async function act(item, state, done = "") {
  if (!(await knowReader())) return false;
  const uid = item.address;
  const name = personName(item.patient_name).shown;
  try {
    const response = await put(uid, state, reader(), state === "read" ? seenAt(item, reader()) : undefined);
    const answer = await response.json();
    if (!response.ok) {
      notice(refusal(response, answer, name, item));
      return false;
    }
    keepClaim(uid, state === "reading");
    const isListed = answer.reading.state === "unread" || answer.reading.state === "reading";
    tell(uid, isListed ? answer : null);
    document.dispatchEvent(new CustomEvent("acted"));
    if (state === "read") notice(`${name}: read.`, item);
    else if (done) notice(`${done}: ${name}.`);
    return true;
  } catch {
    notice(`Not done: the gateway did not answer about ${name}. Try again.`);
    return false;
  }
}

/** The claims of this page hold as long as it is open. */
async function renew() {
  for (const uid of [...claims]) {
    try {
      const response = await put(uid, "reading", reader());
      if (response.status === 409 || response.status === 404) {
        keepClaim(uid, false);
        const { by } = await response.json();
        notice(by ? `A claim of yours has passed to ${by}.` : "A study that you had claimed is gone.");
      }
    } catch {
      // The next try comes long before the claim lapses.
    }
  }
}

/** After a reload: only what is still this reader's is renewed. */
export function forgetLost(get) {
  for (const uid of [...claims]) {
    const item = get(uid);
    if (!item || !isMine(item)) keepClaim(uid, false);
  }
}

export function startReadings() {
  showReader();
  byId("change-name")?.addEventListener("click", askName);
  byId("who-form").addEventListener("submit", onName);
  byId("who-cancel").addEventListener("click", () => dialog.close(""));
  dialog.addEventListener("close", () => {
    answerName?.(dialog.returnValue === "said");
    answerName = null;
    dialog.returnValue = "";
  });
  setInterval(renew, RENEW_MS);
}
