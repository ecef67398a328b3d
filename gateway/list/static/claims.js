// What is asked of the gateway when a reader claims a study, has read it or puts it back, and what a refusal means: for
// the list and for the bar in the viewer alike.

import { ask } from "./feed.js";
import { waiting } from "./words.js";

const NAME = "firstread.reader";

/** The name that was typed at this browser; "" where there is none. */
export const readerName = () => localStorage.getItem(NAME) || "";
export const setReaderName = (name) => localStorage.setItem(NAME, name);

const seen = new Map(); // up to when the films of a study have been seen, where one came while it was being read

/**
 * PUT /worklist/{study}/state; the gateway looks at the name only where no proxy says who asks.
 *
 * @param seenAt with "read": up to when the films have been seen. Of one that came later the gateway tells, and does nothing.
 */
export const put = (uid, state, by, seenAt = undefined) =>
  ask(`worklist/${encodeURIComponent(uid)}/state`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ state, by, seen_at: seenAt }),
  });

/** Up to when a reader has seen the films of a study: since when they read it, or that of which they were told since. */
export function seenAt(item, by) {
  const since = item.reading.state === "reading" && item.reading.by === by ? item.reading.since : undefined;
  const told = seen.get(item.address);
  return told && !(Date.parse(since) > Date.parse(told)) ? told : since;
}

/** Why the gateway has not done it, in words; name is the patient's. A film that came is told once. */
export function refusal(response, problem, name, item) {
  if (problem.code === "film_arrived") {
    seen.set(item.address, problem.at);
    return `Not done: a film of ${name} came ${waiting(problem.at)} ago, after you began. Look at it, then press again.`;
  }
  const since = problem.since ? ` since ${waiting(problem.since)}` : "";
  if (problem.code === "being_read") return `Not done: ${problem.by} is reading ${name}${since}.`;
  if (problem.code === "already_read") return `Not done: ${problem.by || "somebody"} has read ${name} already.`;
  return `Not done: ${problem.detail ?? `the gateway answered ${response.status}`}`;
}
