// Say or ask: what is said or typed goes to POST /dictate, and what it is understood as is done as the key would do it.

import { judge } from "./feedback.js";
import { ask } from "./feed.js";
import { actByKey, isWritten } from "./keys.js";
import { close, currentUid, openUid, setOpen, step } from "./list.js";
import { hasMicrophone, record } from "./microphone.js";
import { notice } from "./readings.js";
import { tbody } from "./rows.js";
import { panel } from "./details.js";
import * as store from "./store.js";
import { withPrior } from "./store.js";
import { openInViewer } from "./viewer.js";
import { byId } from "./words.js";

const PATIENCE_MS = 30_000;
const LONGEST_MS = 58_000; // of a recording: the gateway takes 60 s
const TALK = "t";
const SPEAKS = "firstread.speaks";

const section = byId("dictation");
const talk = byId("talk"); // null where no speech is heard
const said = byId("ask");

// ---- What is done ----

const DO = {
  next: () => step(1),
  previous: () => step(-1),
  read: () => actOn("read"),
  next_read: () => actOn("next"),
  unread: () => actOn("unread"),
  claim: () => actOn("reading"),
  open: (item) => item && openInViewer(...withPrior(item)),
  compare: (item) => item && withPrior(item).length > 1 && openInViewer(...withPrior(item)),
  details: (item) => item && setOpen(item.address, true),
  close,
  agree: (item, finding) => judgeOpen("agree", finding),
  disagree: (item, finding) => judgeOpen("disagree", finding),
};

const MOVES = new Set(["next", "previous", "close"]); // they are about no study
const aboutUid = () => openUid() ?? currentUid();

/** The study that is open, and the one that a command is about, at the moment when something has been said. */
const studies = () => [openUid(), aboutUid()];

function actOn(state) {
  const isChosen = openUid() !== null || tbody.contains(document.activeElement);
  if (isChosen || state === "unread") actByKey(state, isChosen);
  else notice("Go to a study first: none is open, and the keyboard is on none.");
}

function judgeOpen(verdict, finding) {
  const item = store.get(openUid());
  if (item) judge(item, verdict, finding ?? undefined);
  else notice("Open the study first: findings are judged where they are seen.");
}

// ---- What is said of it ----

function show({ heard = "", answer = "", text = "" }) {
  byId("heard").textContent = heard;
  byId("answer").textContent = answer;
  byId("answered").hidden = !answer;
  byId("dictated-text").textContent = text;
  byId("dictated").hidden = !text;
  if (panel.hidden && heard) notice([heard, answer, text].filter(Boolean).join(" "));
}

function understand({ text, kind, command, answer, model }, uid, about) {
  const taken = model ? "Heard" : "Typed";
  const isSame = openUid() === uid; // an answer about another study than the one in sight would mislead
  if (kind === "text") show({ heard: `${taken}, as dictation:`, text });
  else if (kind === "question") show({ heard: `${taken}: \u201c${text}\u201d`, answer: isSame ? answer : "" });
  else if (about !== aboutUid() && !MOVES.has(command.name)) {
    show({ heard: `${taken}: \u201c${text}\u201d. Not done: another study is in sight by now. Say it again.` });
  } else {
    show({ heard: `${taken}: \u201c${text}\u201d. ${command.says}.`, answer: (isSame && answer) || "" });
    DO[command.name](store.get(about), command.finding);
  }
  if (answer && isSame) speak(`${answer} Unverified AI output.`);
}

async function hand(body, type, [uid, about]) {
  show({ heard: "\u2026" });
  try {
    const response = await ask(uid ? `dictate/${encodeURIComponent(uid)}` : "dictate", {
      method: "POST",
      headers: { "Content-Type": type },
      body,
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const answer = await response.json();
    if (response.ok) understand(answer, uid, about);
    else show({ heard: `Not understood: ${answer.detail ?? `the gateway answered ${response.status}`}` });
  } catch {
    show({ heard: "Not understood: the gateway did not answer. Try again." });
  }
}

// ---- The browser's own voice ----

const ownVoice = () =>
  globalThis.speechSynthesis?.getVoices().find(({ localService, lang }) => localService && lang.startsWith("en"));

/** Said aloud where the reader wants it, by a voice of this machine: others send the text to their maker. */
function speak(text) {
  if (!byId("speaks").checked) return;
  const voice = ownVoice();
  if (!voice) {
    notice("This browser has no English voice of its own: the answer is only shown.");
    return;
  }
  const utterance = new SpeechSynthesisUtterance(text);
  utterance.voice = voice;
  utterance.lang = voice.lang;
  speechSynthesis.speak(utterance);
}

// ---- The microphone ----

let stopping = null; // resolves to the function that ends the recording
let isHeld = false; // by the key, not begun by a click
let tooLong;

async function start() {
  if (stopping) return;
  globalThis.speechSynthesis?.cancel();
  if (!hasMicrophone()) {
    show({ heard: "No microphone: browsers give one only to a page by https or on this machine." });
    return;
  }
  talk.setAttribute("aria-pressed", "true");
  show({ heard: "Listening \u2026" });
  stopping = record();
  tooLong = setTimeout(stop, LONGEST_MS);
  try {
    await stopping;
  } catch (error) {
    ended();
    show({ heard: `No microphone: ${error.name === "NotAllowedError" ? "allow it for this page" : error.message}.` });
  }
}

async function stop() {
  if (!stopping) return;
  const [end, inSight] = [stopping, studies()];
  ended();
  try {
    await hand(await (await end)(), "audio/wav", inSight);
  } catch {
    // start() has said why there is none.
  }
}

function ended() {
  clearTimeout(tooLong);
  stopping = null;
  talk.setAttribute("aria-pressed", "false");
}

function onKeyDown(event) {
  if (event.key !== TALK || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isWritten(event.target) || byId("who").open) return;
  event.preventDefault();
  if (talk) {
    isHeld = true;
    start();
  } else if (!panel.hidden) said.focus();
}

export function startDictation() {
  section.hidden = document.body.dataset.mayOpen === "no";
  if (section.hidden) return;
  document.addEventListener("keydown", onKeyDown);
  document.addEventListener("other", () => (byId("answered").hidden && byId("dictated").hidden) || show({})); // of another
  byId("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = said.value.trim();
    if (text) hand(JSON.stringify({ text }), "application/json", studies());
    said.select();
  });
  byId("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(byId("dictated-text").textContent);
      notice("Copied.");
    } catch {
      notice("The browser does not let this page copy: mark the text instead.");
    }
  });
  const speaks = byId("speaks");
  speaks.checked = localStorage.getItem(SPEAKS) === "yes";
  speaks.addEventListener("change", () => {
    localStorage.setItem(SPEAKS, speaks.checked ? "yes" : "no");
    if (!speaks.checked) globalThis.speechSynthesis?.cancel();
  });
  if (!talk) return;
  talk.addEventListener("click", () => {
    isHeld = false;
    if (stopping) stop();
    else start();
  });
  document.addEventListener("keyup", (event) => event.key === TALK && isHeld && stop());
  window.addEventListener("blur", () => isHeld && stop()); // the key may come up elsewhere
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && stop());
}
