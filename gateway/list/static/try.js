// One film, tried by hand: POST /predict, and its answer drawn; with it or alone a clinical note, by POST /text.
// Everything from the outside is written as text, never as markup.

import { markBox, showFilm } from "./film.js";
import { askScope, findingLine } from "./findings.js";
import { clearNote, focusNote, readingOf, showNote } from "./note.js";
import { byId, fill, fromTemplate, twoDecimals } from "./words.js";

const form = byId("form");
const input = byId("file");
const drop = byId("drop");
const go = byId("go");
const result = byId("result");
const note = byId("note");

let busy = false;

const milliseconds = (ms) => (ms < 1000 ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const megabytes = (bytes) => (bytes < 100_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const firstOf = (id) => fromTemplate(id).firstElementChild;

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

// ---- The file --------------------------------------------------------------------------------------------------

function onChosen() {
  const [file] = input.files;
  byId("chosen").hidden = !file;
  if (file) fill(byId("chosen"), { name: file.name, size: megabytes(file.size) });
  clear(); // what is shown was said of another film
  nameTheButton();
}

function nameTheButton() {
  const hasNote = Boolean(note.value.trim());
  if (input.files.length) go.textContent = hasNote ? "Score this film, read the note" : "Score this film";
  else go.textContent = hasNote ? "Read this note" : "Score this film";
}

function onDrop(event) {
  event.preventDefault();
  drop.classList.remove("over");
  if (busy || !event.dataTransfer.files.length) return;
  const one = new DataTransfer();
  one.items.add(event.dataTransfer.files[0]);
  input.files = one.files;
  onChosen();
  go.focus();
}

function clear() {
  result.hidden = true;
  clearNote();
  byId("problem").hidden = true;
  byId("blank").hidden = false;
  byId("status").textContent = "";
}

// ---- The question ----------------------------------------------------------------------------------------------

async function onSubmit(event) {
  event.preventDefault();
  if (busy) return;
  clear();
  const [file] = input.files;
  const limit = Number(form.dataset.uploadBytes);
  if (!file && note.value.trim()) {
    await ask("text", { body: JSON.stringify({ text: note.value }), headers: { "Content-Type": "application/json" } }, "Reading …", (answer) => {
      showNote(answer);
      byId("blank").hidden = true;
      byId("status").textContent = readingOf(answer);
      focusNote();
    });
    return;
  }
  if (!file) {
    showProblem("No film chosen", "Choose a chest film first, or drop it onto the field.");
    input.focus();
    return;
  }
  if (file.size > limit) {
    showProblem("Too large", `The file has ${megabytes(file.size)}; at most ${megabytes(limit)} are taken.`, "too_large");
    return;
  }
  const body = new FormData();
  body.append("file", file);
  if (byId("prior").value.trim()) body.append("prior_report", byId("prior").value);
  if (note.value.trim()) body.append("note", note.value);
  const started = performance.now();
  await ask("predict", { body }, "Scoring …", (answer) => {
    showResult(answer, file, performance.now() - started);
    if (answer.text) showNote(answer.text);
  });
}

async function ask(path, request, status, show) {
  const not = path === "text" ? "Not read" : "Not scored";
  setBusy(true, status);
  try {
    const response = await fetch(path, { method: "POST", ...request });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) show(answer);
    else showProblem(`${not}: ${answer.title ?? response.statusText}`, answer.detail ?? `HTTP ${response.status}`, answer.code);
  } catch {
    showProblem(`${not}: no answer`, "The gateway did not answer, or the file can no longer be read. Try again.");
  } finally {
    setBusy(false);
  }
}

function setBusy(now, status = "") {
  busy = now;
  // Not "disabled", which would throw the keyboard's focus away.
  go.setAttribute("aria-disabled", String(now));
  input.disabled = now;
  if (now) byId("status").textContent = status;
  else if (result.hidden && byId("note-result").hidden) byId("status").textContent = "";
}

// ---- The answer ------------------------------------------------------------------------------------------------

function showProblem(title, detail, code = "") {
  fill(byId("problem"), { title, detail: detail.charAt(0).toUpperCase() + detail.slice(1), code });
  byId("blank").hidden = true;
  byId("problem").hidden = false;
}

function showResult(answer, file, roundTrip) {
  const flag = firstOf(`flag-${answer.urgency}`);
  const said = flag.textContent.trim(); // before it moves into the page
  const shown = answer.findings.filter((finding) => finding.shown);
  const { model, rows, columns } = answer;
  fill(result, {
    flag,
    file: file.name,
    disclaimer: answer.disclaimer,
    explanation: answer.explanation,
    score: `Score ${twoDecimals(answer.score)}: for any urgent finding.`,
    meaning: flag.title,
    findings: shown.map((finding) => findingLine(finding, model.sha256)),
    quality: Object.values(answer.quality).map((message) => element("li", message)),
    crops: answer.crops.map(cropFigure),
    quotes: quotes(answer.provenance),
    film: `${columns} × ${rows} pixels`,
    model: `${model.name} ${model.version}`,
    size: `${answer.model_size_mb.toFixed(1)} MB`,
    latency: `${milliseconds(answer.elapsed_ms)} to score, ${milliseconds(roundTrip)} with upload and pictures`,
    weights: `SHA-256 ${model.sha256}`,
  });
  byId("quality").hidden = !Object.keys(answer.quality).length;
  byId("crops").hidden = !answer.crops.length;
  byId("quotes").hidden = !byId("prior").value.trim();
  showFilm({
    src: answer.image.slice(1),
    rows,
    columns,
    marked: answer.crops.map((crop, index) => ({ ...crop, number: index + 1 })),
  });
  byId("blank").hidden = true;
  result.hidden = false;
  byId("status").textContent = `${said}, score ${twoDecimals(answer.score)}`;
  byId("verdict").focus();
}

function cropFigure(crop, index) {
  const figure = firstOf("crop");
  const image = figure.querySelector("img");
  image.alt = `Box ${index + 1}: ${crop.finding}`;
  image.src = crop.thumb_path.slice(1);
  image.parentElement.href = image.src;
  figure.querySelector("figcaption").textContent = `${index + 1} ${crop.finding}`;
  const mark = (shown) => () => markBox(index, shown);
  figure.addEventListener("mouseenter", mark(true));
  figure.addEventListener("mouseleave", mark(false));
  figure.addEventListener("focusin", mark(true));
  figure.addEventListener("focusout", mark(false));
  return figure;
}

function quotes(provenance) {
  if (!provenance.length) return [element("p", "No sentence of it mentions a finding that was looked for.")];
  return provenance.map(({ snippet }) => element("blockquote", snippet));
}

form.addEventListener("submit", onSubmit);
note.addEventListener("input", nameTheButton);
input.addEventListener("change", onChosen);
// A film that misses the field must not replace the page.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("over"));
document.addEventListener("drop", onDrop);
askScope();
