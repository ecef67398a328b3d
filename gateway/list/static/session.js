// The way out, for who is logged in with this browser.

import { ask } from "./feed.js";
import { byId } from "./words.js";

/** End the session here, and go on to where the identity provider ends its own. */
async function logOut() {
  try {
    const response = await ask("logout", { method: "POST" });
    if (response.ok) location.assign((await response.json()).next);
  } catch {
    byId("log-out").textContent = "Not logged out: try again";
  }
}

export function startSession() {
  byId("log-out")?.addEventListener("click", logOut);
}
