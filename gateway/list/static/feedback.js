// Agree or disagree with what the AI tells of a study: a key or a button for each finding. It moves nothing.

import { ask } from "./feed.js";
import { knowReader, notice, reader } from "./readings.js";
import { fromTemplate } from "./words.js";

const WORDS = { agree: "You agree", disagree: "You disagree", missed: "You say it was missed", side: "You say other side" };

let shownFor = null; // address of the study whose feedback is known
let given = []; // of all readers
let lines = new Map(); // finding's name -> its line in the panel

const mine = (name) => given.find(({ finding, by }) => finding === name && by === reader())?.verdict;

/** Offer both verdicts in the line of a finding. */
export function offerVerdicts(line, name) {
  if (document.body.dataset.mayRead === "no") return;
  const part = fromTemplate("verdicts").firstElementChild;
  part.dataset.finding = name;
  for (const button of part.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.textContent} with ${name}`);
  }
  line.append(part);
  lines.set(name, line);
}

/** The lines are drawn anew. */
export function forgetLines() {
  lines = new Map();
}

/** Mark what has been said, as far as it is known. */
export function markVerdicts() {
  for (const [name, line] of lines) {
    for (const button of line.querySelectorAll("[data-verdict]")) {
      button.setAttribute("aria-pressed", String(button.dataset.verdict === mine(name)));
    }
  }
}

/** Ask what has been said of this study; nothing is marked before it is known. */
export async function askFeedback(item) {
  if (shownFor === item.address) return;
  shownFor = item.address;
  given = [];
  markVerdicts();
  try {
    const response = await ask(`worklist/${encodeURIComponent(item.address)}/feedback`);
    const { feedback } = response.ok ? await response.json() : { feedback: [] };
    if (shownFor !== item.address) return; // another study is looked at by now
    given = feedback;
    markVerdicts();
  } catch {
    shownFor = null; // the next look asks again
  }
}

/**
 * Say what this reader thinks of a finding.
 *
 * @param name of the finding; by a key, the first one of which nothing has been said, or the one in whose line it is.
 */
export async function judge(item, verdict, name = nextName()) {
  if (!name) {
    notice(lines.size ? "You have said of each finding what you think of it." : "There is no finding to judge.");
    return;
  }
  if (!(await knowReader())) return;
  try {
    const response = await ask(`worklist/${encodeURIComponent(item.address)}/feedback`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ finding: name, verdict, by: reader() }),
    });
    const answer = await response.json();
    if (!response.ok) {
      notice(`Not noted: ${answer.detail ?? `the gateway answered ${response.status}`}`);
      return;
    }
    if (shownFor === item.address) given = answer.feedback;
    markVerdicts();
    notice(`${WORDS[verdict]}: ${name}.`);
  } catch {
    notice("Not noted: the gateway did not answer. Try again.");
  }
}

function nextName() {
  const focused = document.activeElement?.closest("[data-finding]")?.dataset.finding;
  return focused ?? [...lines.keys()].find((name) => !mine(name));
}
