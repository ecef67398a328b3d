// The details of one study, beside the list.

import { offerActs, sharedFields } from "./rows.js";
import { beingRead, byId, fill, findingLine, fromTemplate, localTime, twoDecimals } from "./words.js";

export const panel = byId("details");

/** Show a study; null closes the panel. */
export function showDetails(item) {
  panel.hidden = !item;
  document.body.classList.toggle("with-details", Boolean(item));
  if (!item) {
    panel.shownItem = null;
    return;
  }
  offerActs(panel, item);
  if (panel.shownItem === item) return;
  const isOther = panel.shownItem?.study_instance_uid !== item.study_instance_uid;
  panel.shownItem = item;
  panel.dataset.priority = item.order_priority;
  const shared = sharedFields(item);
  const shown = item.findings.filter((finding) => finding.shown);
  fill(panel, {
    ...shared,
    place: item.reason || "In order of arrival.",
    state_meaning: shared.state.querySelector(".mark").title,
    failure_message: item.failure?.message,
    failure_code: item.failure?.code,
    score:
      item.score === null
        ? "None computed. That says nothing about the film."
        : `Score ${twoDecimals(item.score)}: for any urgent finding.`,
    operating_points: shown.length ? "Marks: operating points. Bold: certain enough to be named." : "",
    findings: shown.map(findingLine),
    explanation: item.explanation,
    sex_age: [item.patient_sex, item.patient_age].filter(Boolean).join(", "),
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
  byId("failure").hidden = !item.failure;
  byId("explanation").hidden = !item.explanation;
  byId("provenance").hidden = item.score === null;
  byId("quality").hidden = !item.quality.length;
  showCrops(item);
  const viewer = panel.querySelector('[data-field="viewer"]');
  byId("viewer").hidden = !viewer.dataset.prefix;
  if (viewer.dataset.prefix) viewer.href = viewer.dataset.prefix + encodeURIComponent(item.study_instance_uid);
  if (isOther) panel.scrollTop = 0;
}

function showCrops(item) {
  const count = item.crop_count;
  const key = `${item.study_instance_uid} ${count} ${item.result_series_uids}`;
  byId("crops").hidden = !count;
  const list = panel.querySelector('[data-field="crops"]');
  if (list.dataset.key === key) return; // the same images: spare the eye a flicker
  list.dataset.key = key;
  list.replaceChildren(
    ...Array.from({ length: count }, (_, index) => {
      const figure = fromTemplate("crop").firstElementChild;
      const caption = figure.querySelector("figcaption");
      const image = figure.querySelector("img");
      caption.textContent = `Crop ${index + 1} of ${count}`;
      image.alt = `Part of the film that weighed most, ${index + 1} of ${count}`;
      image.addEventListener("error", () => {
        image.parentElement.remove();
        caption.textContent = `Crop ${index + 1} of ${count} could not be loaded; it is in the PACS.`;
      });
      image.src = `worklist/${encodeURIComponent(item.study_instance_uid)}/crops/${index + 1}.png`;
      image.parentElement.href = image.src;
      return figure;
    }),
  );
}

/** Let the times go on. */
export const tickDetails = () => panel.shownItem && fill(panel, { reading: beingRead(panel.shownItem.reading) });
