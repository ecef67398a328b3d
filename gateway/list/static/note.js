// What a note states, drawn: the answer of POST /text, or the part `text` of POST /predict. Written as text, never as
// markup.

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

export function clearNote() {
  article.hidden = true;
  contradictions.hidden = true;
}

export function showNote(answer) {
  const { risk, model } = answer;
  fill(article, {
    disclaimer: answer.disclaimer,
    summary: answer.summary,
    attention: items(answer.attention),
    remarks: items(answer.remarks),
    risk: risk.rule ? `${risk.class} (${risk.rule})` : risk.class,
    reasons: items(risk.reasons),
    scores: risk.scores.map(scoreTable),
    statements: answer.statements.map(statementRow),
    model: `${model.name} ${model.version}, SHA-256 ${model.sha256}`,
  });
  showModel(answer.language_model);
  byId("attention").hidden = !answer.attention.length;
  byId("remarks").hidden = !answer.remarks.length;
  fill(contradictions, { contradictions: answer.contradictions.map(contradictionItem) });
  contradictions.hidden = !answer.contradictions.length;
  article.hidden = false;
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
  const words = [statement.text, statement.dose].filter(Boolean).join(" ");
  row.append(element("td", statement.kind), element("td", words), element("td", saidOf(statement)), quotation(statement));
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
