// What a note states, drawn: the answer of POST /text, alone or beside a study, or the part `text` of POST /predict.
// Written as text, never as markup.

import { byId, fill } from "./words.js";

const article = byId("note-result");
const contradictions = byId("contradictions");

function element(name, text = "", className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className) node.className = className;
  return node;
}

const items = (texts) => texts.map((text) => element("li", text));

/**
 * Draw what a note states and, on top, what contradicts its film.
 *
 * @param answer of the note; null where there is none.
 * @param request the answer of GET /text/{study}, of the reason that the order states; what it says comes first.
 */
export function showNote(answer, request = null) {
  const said = [request, answer].filter(Boolean);
  const against = said.flatMap((one) => one.contradictions);
  against.sort((a, b) => (b.kind === "patient") - (a.kind === "patient")); // that it is another's note comes first
  const attention = said.flatMap((one) => one.attention);
  const disclaimer = said[0]?.disclaimer;
  if (!answer) for (const node of article.querySelectorAll("[data-field]")) node.replaceChildren();
  fill(contradictions, { contradictions: against.map(contradictionItem), disclaimer });
  contradictions.hidden = !against.length;
  fill(article, { title: answer ? "What the note states" : "From the request", disclaimer, attention: items(attention) });
  byId("attention").hidden = !attention.length;
  byId("note-whole").hidden = !answer;
  article.hidden = !answer && !attention.length;
  if (answer) showWhole(answer);
}

/** Nothing of it stays in the page. */
export const clearNote = () => showNote(null);

/** To what is most worth hearing of it. */
export const focusNote = () => (contradictions.hidden ? byId("note-title") : contradictions.firstElementChild).focus();

/** A note's reading in a line. */
export function readingOf({ risk, contradictions: against }) {
  return `Note read, risk ${risk.class}${against.length ? ", contradicts the film" : ""}`;
}

function showWhole({ summary, remarks, risk, statements, model, language_model: words }) {
  fill(article, {
    summary,
    remarks: items(remarks),
    risk: risk.rule ? `${risk.class} (${risk.rule})` : risk.class,
    reasons: items(risk.reasons),
    scores: risk.scores.map(scoreTable),
    statements: statements.map(statementRow),
    rules: `${model.name} ${model.version}, SHA-256 ${model.sha256}`,
  });
  byId("remarks").hidden = !remarks.length;
  byId("points").hidden = !risk.scores.length;
  showModel(words);
}

/** What a language model adds: a sentence and terms that the rules do not know, or why it adds nothing. */
function showModel(said) {
  byId("note-model").hidden = !said;
  if (!said) return;
  fill(article, {
    by: said.model?.name ?? "",
    words: said.summary ?? `Nothing: ${said.why}.`,
    terms: items(said.statements.map((one) => [one.kind, one.text, saidOf(one)].filter(Boolean).join(", "))),
  });
}

function contradictionItem({ text, sentence }) {
  const item = element("li", text);
  if (sentence) item.append(element("blockquote", sentence));
  return item;
}

function scoreTable(score) {
  const table = element("table", "", "score");
  const points = score.points === score.most_points ? score.points : `${score.points} to ${score.most_points}`;
  table.append(element("caption", `${score.rule}: ${points} points, ${score.class}`));
  const body = element("tbody");
  for (const input of score.inputs) {
    const row = element("tr");
    const name = element("th", input.name);
    name.scope = "row";
    row.append(name, element("td", input.value ?? "not stated"), element("td", input.points ?? "?"));
    if (input.points) row.className = "counts";
    if (input.points === null) row.className = "missing";
    if (input.evidence) row.title = `From the note: ${input.evidence}`;
    body.append(row);
  }
  table.append(body);
  return table;
}

function statementRow(statement) {
  const row = element("tr");
  row.setAttribute("role", "row"); // a narrow page lays rows out as a grid, and that drops what they are
  const words = [statement.text, statement.dose].filter(Boolean).join(" ");
  row.append(element("td", statement.kind), element("td", words), element("td", saidOf(statement)), quotation(statement));
  for (const cell of row.cells) cell.setAttribute("role", "cell");
  if (statement.negated) row.className = "negated";
  return row;
}

function saidOf(statement) {
  const said = [
    statement.negated && "negated",
    statement.uncertain && "uncertain",
    statement.who === "family" && "family",
    statement.when === "past" && "past",
    statement.when === "hypothetical" && "only if",
    statement.allergy && "not borne",
    statement.sides.length === 2 ? "both sides" : statement.sides[0],
  ];
  return said.filter(Boolean).join(", ");
}

// Places count characters, of which JavaScript has some twice.
function quotation({ sentence, sentence_begin: start, begin, end }) {
  const cell = element("td", "", "quotation");
  const letters = [...sentence];
  const part = (from, to) => letters.slice(from, to).join("");
  cell.append(part(0, begin - start), element("mark", part(begin - start, end - start)), part(end - start));
  return cell;
}
