// The viewer, in one window that is kept for it: the hospital's own where it has named one, else OHIF.

import { notice } from "./readings.js";
import { byId } from "./words.js";

const NAME = "firstread-viewer";

const link = byId("viewer"); // null where this installation has no viewer
const ohif = byId("ohif"); // beside the hospital's own viewer
const own = link?.dataset.address; // of the hospital's own viewer
const isProgram = Boolean(own) && !/^https?:/.test(own); // an address of its own scheme starts it, and opens no window
let opened = null; // its window, once this page has opened it

/** Whether it shows two studies beside one another when it is asked for both. */
export const hangsBeside = !own;

export const hasViewer = () => Boolean(link);

const ohifUrl = (prefix, uids) => new URL(prefix + uids.map(encodeURIComponent).join(","), document.baseURI).href;

/** Where the viewer shows these studies beside one another; the hospital's own finds earlier ones by itself. */
export const viewerUrl = (...uids) =>
  own ? own.replace("{study_instance_uid}", () => encodeURIComponent(uids[0])) : ohifUrl(link.dataset.prefix, uids);

/** Let the links to viewers lead to these studies. */
export function linkViewers(...uids) {
  if (!link) return;
  link.href = viewerUrl(...uids);
  link.dataset.uids = uids.join(" ");
  if (ohif) ohif.href = ohifUrl(ohif.dataset.prefix, uids);
}

/** Show studies in the viewer's window, and that window. */
export function openInViewer(...uids) {
  if (!link) {
    notice("No viewer is installed here.");
    return;
  }
  if (isProgram) {
    opened = window;
    location.href = viewerUrl(...uids);
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
