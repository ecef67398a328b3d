// A study beside its patient's earlier film, in the details: what changed by the scores, and what the report said.

import { byId, fill } from "./words.js";

const line = (text) => {
  const item = document.createElement("li");
  item.textContent = text;
  return item;
};

const quotation = ({ snippet }) => {
  const quoted = document.createElement("blockquote");
  const words = document.createElement("bdi");
  words.textContent = snippet;
  quoted.append(words);
  return quoted;
};

/** Fill that part of the panel; nothing of it is shown where the PACS has no earlier film. */
export function showComparison(panel, { comparison }) {
  const section = byId("comparison");
  section.hidden = !comparison;
  if (!comparison) return;
  const { study_date: day, lines, clash, not_compared: missed, report, report_limits: limits, quotes } = comparison;
  byId("compared-with").hidden = !day;
  byId("comparison-key").hidden = !lines.length;
  fill(panel, {
    compared_with: day ?? "",
    clash: clash && `${clash[0].toUpperCase()}${clash.slice(1)}. Check whose it is.`,
    compared: lines.map(line),
    not_compared: missed && `${missed[0].toUpperCase()}${missed.slice(1)}.`,
    quotes: quotes.map(quotation),
    quoted_from: sourceOf(report, limits, quotes),
  });
}

function sourceOf(report, limits, quotes) {
  if (!report) return "";
  const sources = [...new Set(quotes.map(({ source }) => source))];
  const what = quotes.length ? `Quoted from ${sources.join(", ")}` : "No sentence of the report on it is quoted";
  return `${what} (${report}${limits ? `; ${limits}` : ""}).`;
}
