// Whether the page's script has begun. It comes in many files, and where one of them does not come, a page would stand
// still and look like one that waits. No module, so that nothing can keep this file from running but its own absence.

const LONGEST_MS = 30_000; // a file may also hang
const AGAIN_MS = 10_000;
let isLate = false;

async function loadAgain() {
  try {
    const response = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(AGAIN_MS) });
    if (response.ok) location.reload(); // else what the page shows is better than what would come
  } catch {
    // Nobody answers: the next try is due soon.
  }
}

function look() {
  if (isLate || document.documentElement.dataset.begun) return;
  isLate = true;
  const connection = document.getElementById("connection");
  if (connection) {
    connection.dataset.link = "reconnecting";
    connection.textContent = "Not live: part of this page did not load. It is loaded again soon.";
  }
  setInterval(loadAgain, AGAIN_MS);
}

addEventListener("load", look);
setTimeout(look, LONGEST_MS);
