// The details of one study, beside the list.

import { showComparison } from "./comparison.js";
import { askFeedback, forgetLines, markVerdicts, offerVerdicts } from "./feedback.js";
import { showFilm } from "./film.js";
import { findingLine } from "./findings.js";
import { isOpen, showOpenings } from "./openings.js";
import { showPatientPriors } from "./patientpriors.js";
import { offerActs, sharedFields } from "./rows.js";
import { showSteps } from "./steps.js";
import { withPrior } from "./store.js";
import { showStudyNote } from "./studynote.js";
import { linkViewers } from "./viewer.js";
import { beingRead, byId, fill, fromTemplate, localTime, twoDecimals } from "./words.js";

const REST_MS = 150; // what is asked for another study waits until the keyboard rests on it

export const panel = byId("details");
const heading = byId("details-name");
let image = 1; // of the study, from 1
let resting; // timer

/** Show a study; null closes the panel. */
export function showDetails(item) {
  panel.hidden = !item;
  document.body.classList.toggle("with-details", Boolean(item));
  if (!item) {
    if (panel.shownItem) document.dispatchEvent(new CustomEvent("other"));
    panel.shownItem = null;
    return;
  }
  offerActs(panel, item);
  if (panel.shownItem === item) return;
  const isOther = panel.shownItem?.orthanc_id !== item.orthanc_id;
  panel.shownItem = item;
  panel.dataset.priority = item.order_priority;
  fillFacts(item);
  showFindings(item);
  linkViewers(...withPrior(item));
  if (isOther) {
    image = 1;
    panel.scrollTop = 0;
    document.dispatchEvent(new CustomEvent("other"));
    byId("images").hidden = byId("crops").hidden = byId("patient-priors").hidden = byId("steps").hidden = true;
  }
  clearTimeout(resting);
  resting = setTimeout(showPictures, isOther ? REST_MS : 0, item);
}

/** After the panel was opened by a key: what it is about is read next. */
export const focusDetails = () => heading.focus({ preventScroll: true });

function fillFacts(item) {
  const shared = sharedFields(item);
  fill(panel, {
    ...shared,
    place: item.reason || "In order of arrival.",
    state_meaning: shared.state.querySelector(".mark").title,
    failure_message: item.failure?.message,
    failure_code: item.failure?.code,
    explanation: item.explanation,
    explanation_added: (item.explained?.added ?? []).map((sentence) => {
      const line = document.createElement("li");
      line.textContent = sentence;
      return line;
    }),
    explained_by: item.explained ? explainedBy(item.explained) : "",
    view: item.view,
    ward: item.ward,
    station: item.station,
    accession_number: item.accession_number,
    modality: item.modality,
    acquired: item.acquired_at ? localTime(item.acquired_at) : "",
    received: localTime(item.received_at),
    study_instance_uid: item.study_instance_uid,
    model: item.model ? `${item.model.name} ${item.model.version}` : "not stated",
    weights: item.model ? `SHA-256 ${item.model.sha256}` : "not stated",
    results: item.result_series_uids.length ? `Series ${item.result_series_uids.join(", ")}` : "no results yet",
    quality: item.quality.map((note) => {
      const line = document.createElement("li");
      line.textContent = note.message;
      return line;
    }),
  });
  showComparison(panel, item);
  byId("failure").hidden = !item.failure;
  byId("explanation").hidden = !item.explanation;
  byId("provenance").hidden = item.score === null;
  byId("quality").hidden = !item.quality.length;
}

function explainedBy({ by, at, instead_of: other, why }) {
  const when = at ? `, ${localTime(at)}` : "";
  const instead = other ? ` In place of ${other}: ${why}.` : "";
  return `Explained by ${by}${when}.${instead} Unverified: a radiologist has to confirm it.`;
}

/** Say of each finding what is known of it; again once more is known of the model. */
export function showFindings(item = panel.shownItem) {
  if (!item) return;
  const shown = item.findings.filter((finding) => finding.shown);
  const boxed = shown.filter((finding) => finding.box);
  const focused = verdictInFocus();
  forgetLines();
  fill(panel, {
    score:
      item.score === null
        ? "None computed. That says nothing about the film."
        : `Score ${twoDecimals(item.score)}: for any urgent finding.`,
    findings: shown.map((finding) => {
      const place = boxed.indexOf(finding);
      const line = findingLine(finding, item.model?.sha256, place < 0 ? "" : place + 1);
      offerVerdicts(line, finding.name);
      return line;
    }),
  });
  markVerdicts();
  if (focused) focusVerdict(focused);
  panel.querySelector('[data-field="findings_key"]').hidden = !shown.length;
}

function verdictInFocus() {
  const part = document.activeElement?.closest("#details [data-finding]");
  return part && { finding: part.dataset.finding, verdict: document.activeElement.dataset.verdict };
}

/** Where lines are drawn anew, the keyboard stays on its button. */
function focusVerdict({ finding, verdict }) {
  const part = [...panel.querySelectorAll("[data-finding]")].find((one) => one.dataset.finding === finding);
  part?.querySelector(`[data-verdict="${verdict}"]`)?.focus({ preventScroll: true });
}

// ---- Pictures ----

const film = byId("film");
film.addEventListener("load", () => showFilmFailure(false));
film.addEventListener("error", () => showFilmFailure(true));

function showFilmFailure(hasFailed) {
  byId("frame").hidden = hasFailed;
  byId("no-film").hidden = !hasFailed;
  if (hasFailed) byId("toggle").hidden = true;
}

function showPictures(item) {
  if (panel.shownItem !== item) return;
  showOpenings(item, showPictures);
  if (!isOpen(item)) return;
  showStudyNote(item);
  showImages(item);
  showCrops(item);
  showPatientPriors(item);
  showSteps(item);
  askFeedback(item);
}

function showImages(item) {
  const count = item.images.length;
  byId("images").hidden = !count;
  if (!count) return;
  image = Math.min(image, count);
  byId("image-choice").hidden = count < 2;
  byId("image-choice").replaceChildren(
    ...item.images.map((_, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "pill";
      button.textContent = `Image ${index + 1}`;
      button.setAttribute("aria-pressed", String(index + 1 === image));
      button.addEventListener("click", () => {
        image = index + 1;
        showImages(panel.shownItem);
        byId("image-choice").children[index].focus();
      });
      return button;
    }),
  );
  const { rows, columns } = item.images[image - 1];
  const numbered = item.findings
    .filter((finding) => finding.shown && finding.box)
    .map((finding, index) => ({ ...finding.box, number: index + 1 }));
  showFilm({
    src: `worklist/${encodeURIComponent(item.address)}/images/${image}.png`,
    rows,
    columns,
    marked: numbered.filter((box) => box.image === image),
  });
  fill(panel, { film: `${columns} × ${rows} pixels` });
}

function showCrops(item) {
  const count = item.crop_count;
  const key = `${item.address} ${count} ${item.result_series_uids}`;
  byId("crops").hidden = !count;
  const list = panel.querySelector('[data-field="crops"]');
  if (list.dataset.key === key) return; // the same images: spare the eye a flicker
  list.dataset.key = key;
  list.replaceChildren(
    ...Array.from({ length: count }, (_, index) => {
      const figure = fromTemplate("crop").firstElementChild;
      const caption = figure.querySelector("figcaption");
      const picture = figure.querySelector("img");
      caption.textContent = `Crop ${index + 1} of ${count}`;
      picture.alt = `Part of the film that weighed most, ${index + 1} of ${count}`;
      picture.addEventListener("error", () => {
        picture.parentElement.remove();
        caption.textContent = `Crop ${index + 1} of ${count} could not be loaded; it is in the PACS.`;
      });
      picture.src = `worklist/${encodeURIComponent(item.address)}/crops/${index + 1}.png`;
      picture.parentElement.href = picture.src;
      return figure;
    }),
  );
}

/** Let the times go on. */
export const tickDetails = () => panel.shownItem && fill(panel, { reading: beingRead(panel.shownItem.reading) });
