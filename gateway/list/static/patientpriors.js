// A patient's earlier studies, in the details of one study: asked for once it is looked at.

import { ask } from "./feed.js";
import { hangsBeside, hasViewer, viewerUrl } from "./viewer.js";
import { byId, fill, fromTemplate } from "./words.js";

const section = byId("patient-priors");
const list = byId("patient-prior-list");
let shownFor = null; // address of a study
let looksFor = null; // the item that is asked about now

/** Show the priors of the patient of this study. */
export async function showPatientPriors(item) {
  const uid = item.address;
  looksFor = item;
  if (shownFor === uid) {
    section.hidden = false;
    return;
  }
  shownFor = null;
  list.replaceChildren();
  let items = null;
  try {
    const response = await ask(`worklist/${encodeURIComponent(uid)}/priors`);
    if (!response.ok) throw new Error(`answered ${response.status}`);
    ({ items } = await response.json());
  } catch {
    // It is said below.
  }
  if (looksFor !== item) return; // another study is looked at by now
  if (items) shownFor = uid;
  byId("patient-priors-note").textContent = items ? "None is known here." : "Could not be asked for.";
  byId("patient-priors-note").hidden = Boolean(items?.length);
  list.replaceChildren(...(items ?? []).map((prior) => line(item.study_instance_uid, prior)));
  section.hidden = false;
}

function line(uid, prior) {
  const row = fromTemplate("patient-prior").firstElementChild;
  fill(row, { date: prior.study_date, study_description: prior.study_description, modality: prior.modality });
  const link = row.querySelector("a");
  link.hidden = !hasViewer();
  if (hasViewer()) {
    const uids = hangsBeside ? [uid, prior.study_instance_uid] : [prior.study_instance_uid];
    link.href = viewerUrl(...uids);
    link.dataset.uids = uids.join(" ");
    link.textContent = hangsBeside ? "Beside this one" : "Open";
    link.setAttribute("aria-label", `Prior of ${prior.study_date}${hangsBeside ? " beside this study" : ""}, in the viewer`);
  }
  return row;
}
