// The line of a finding, and what the model in force looks for: the head of both pages, and what the numbers mean.

import { ask } from "./feed.js";
import { byId, fill, fromTemplate, twoDecimals } from "./words.js";

const WIDEST = 2; // times the threshold, where a bar ends

const head = byId("scope");
let asked = head.dataset.sha256; // the model that the head speaks of
let scope = null;

/** Ask what the model in force looks for, and say so; then() once more is known than before. */
export async function askScope(then = () => {}) {
  try {
    scope = await (await ask("worklist/scope")).json();
  } catch {
    asked = ""; // the next item asks again
    return;
  }
  asked = scope.sha256;
  const part = (name) => head.querySelector(`[data-scope="${name}"]`);
  part("none").hidden = Boolean(scope.sha256);
  part("critical").hidden = scope.can_be_critical || !scope.sha256;
  for (const name of ["looked_for", "unreliable", "not_looked_for"]) {
    part(name).hidden = !scope[name].length;
    fill(part(name), { [name]: scope[name].join(", ") });
  }
  fill(head, { model: scope.model });
  then();
}

/** Another model may have judged a study: the head then speaks of that one. */
export function heardOf(model, then) {
  if (!model || model.sha256 === asked) return;
  asked = model.sha256;
  askScope(then);
}

/** How often words like these are right, as people count; "" for what is not named, or of another model. */
function meaningOf(finding, sha256) {
  const known = scope?.sha256 === sha256 && finding.named && scope.named.find(({ code }) => code === finding.code);
  if (!known) return "";
  const right = Math.round(10 * known.precision);
  return `Of 10 films marked like this, about ${right} had it (counted on ${known.films} films).`;
}

/** A finding's name, a bar relative to its threshold, the number, and what that means; number is that of its box. */
export function findingLine(finding, sha256, number = "") {
  const line = fromTemplate("finding").firstElementChild;
  const times = finding.threshold ? finding.probability / finding.threshold : WIDEST;
  fill(line, {
    number,
    finding: finding.side ? `${finding.name}, patient's ${finding.side}` : finding.name,
    meaning: meaningOf(finding, sha256),
  });
  line.classList.toggle("named", finding.named);
  const meter = line.querySelector("meter");
  meter.value = Math.min(times, WIDEST);
  meter.setAttribute("aria-label", `${finding.name}, ${times.toFixed(1)} times its threshold`);
  line.querySelector(".value").textContent = twoDecimals(finding.probability);
  return line;
}
