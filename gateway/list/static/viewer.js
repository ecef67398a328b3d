// The viewer, in one window that is kept for it.

import { notice } from "./readings.js";
import { byId } from "./words.js";

const NAME = "firstread-viewer";

const link = byId("viewer"); // null where this installation has no viewer
let opened = null; // its window, once this page has opened it

export const hasViewer = () => Boolean(link);

/** A study, and behind it the earlier one whose film it was compared with: the viewer hangs both. */
export const withPrior = ({ study_instance_uid: uid, comparison }) =>
  [uid, comparison?.study_instance_uid].filter(Boolean);

/** Where the viewer shows these studies beside one another. */
export const viewerUrl = (...uids) =>
  new URL(link.dataset.prefix + uids.map(encodeURIComponent).join(","), document.baseURI).href;

/** Show studies in the viewer's window, and that window. */
export function openInViewer(...uids) {
  if (!link) {
    notice("No viewer is installed here.");
    return;
  }
  opened = window.open(viewerUrl(...uids), NAME);
  if (opened) opened.focus();
  else notice("The browser refused to open the viewer's window: allow pop-ups for this page.");
}

/** Where the viewer's window is open, show other studies in it; the keyboard stays with the list. */
export function followInViewer(...uids) {
  if (opened && !opened.closed) opened.location.href = viewerUrl(...uids);
}

/** A click on a link to the viewer, unless the reader wants a window of another kind. */
export function onViewerLink(event) {
  const target = event.target.closest(`a[target="${NAME}"]`);
  if (!target || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  openInViewer(...target.dataset.uids.split(" "));
}
