// Words and times, and how they are written into a page: as text, never as markup.

const CLOCK_TOLERANCE_MS = 5_000; // the Date header has whole seconds only

let clockOffset = 0; // server's clock less this one's, in ms: workstations' clocks are often wrong

export const byId = (id) => document.getElementById(id);
export const fromTemplate = (id) => byId(id).content.cloneNode(true);

/** The server's present moment, in ms. */
export const now = () => Date.now() + clockOffset;

/** Set the clock by an answer of the server. */
export function setClock(response) {
  const offset = Date.parse(response.headers.get("Date") ?? "") - Date.now();
  clockOffset = Math.abs(offset) > CLOCK_TOLERANCE_MS ? offset : 0;
}

const fields = new WeakMap(); // root -> its elements by field: thousands of rows are filled

function fieldsOf(root) {
  if (!fields.has(root)) {
    const nodes = [...root.querySelectorAll("[data-field]")].reverse(); // the first of a name counts
    fields.set(root, new Map(nodes.map((node) => [node.dataset.field, node])));
  }
  return fields.get(root);
}

/** Write values into the elements of these fields: text, an element, or a list of elements. */
export function fill(root, values) {
  const nodes = fieldsOf(root);
  for (const [field, value] of Object.entries(values)) {
    const node = nodes.get(field);
    if (Array.isArray(value)) node.replaceChildren(...value);
    else if (value instanceof Node) node.replaceChildren(value);
    else if (node.textContent !== String(value ?? "")) node.textContent = value ?? "";
  }
}

/** person_name of worklist/person_name.py: the same words for the same name. */
export function personName(value) {
  const groups = value.split("=", 3).map((group, place) => {
    const [family, given, middle, prefix, suffix] = group.split("^").map((part) => part.trim());
    const joined = (...parts) => parts.filter(Boolean).join(" ");
    return [family, joined(given, middle), joined(prefix, suffix)].filter(Boolean).join(place ? " " : ", ");
  });
  const shown = groups.find(Boolean) ?? "No name";
  const ideographic = groups[1] ?? "";
  return { shown, ideographic: ideographic === shown ? "" : ideographic };
}

/** waiting of gateway/list/words.py: the same words for the same time. */
export function waiting(since) {
  const minutes = Math.max(0, Math.floor((now() - Date.parse(since)) / 60_000));
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min` : "< 1 min";
}

/** being_read of gateway/list/words.py: the same words for the same reading. */
export const beingRead = ({ state, by, since }) =>
  state === "reading" ? `being read by ${by} since ${waiting(since)}` : "";

const AGE_UNITS = { D: "d", W: "w", M: "mo", Y: "y" };

/** sex_age of gateway/list/words.py: the same words for the same values. */
export function sexAge({ patient_sex: sex, patient_age: age }) {
  const [, count, unit] = /^([0-9]{3})([DWMY])$/.exec(age) ?? [];
  return [/^[FMO]$/.test(sex) ? sex : "", count ? `${Number(count)} ${AGE_UNITS[unit]}` : ""].filter(Boolean).join(" ");
}

/** where of gateway/list/words.py: the same words for the same item. */
export function where({ study_description: description, view, ward, station }) {
  const isSaid = ` ${description}`.toUpperCase().endsWith(` ${view}`.toUpperCase());
  return [isSaid ? "" : view, ward || station].filter(Boolean).join(", ");
}

const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

/** The local time of a moment, with its day where that is not today; "" for none. */
export function dayTime(iso) {
  if (!iso) return "";
  const moment = new Date(iso);
  const today = new Date(now());
  if (moment.toDateString() === today.toDateString()) return HOUR.format(moment);
  return moment.getFullYear() === today.getFullYear() ? `${DAY.format(moment)} ${HOUR.format(moment)}` : YEAR.format(moment);
}

/** Two decimals, and never a certainty: a model's 0.004 is not 0.00. */
export const twoDecimals = (p) => (p < 0.005 ? "< 0.01" : p >= 0.995 ? "> 0.99" : p.toFixed(2));
export const localTime = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
export const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;
export const flagOf = (item) => item.urgency ?? "unassessed";
export const chipOf = (item) => fromTemplate(`flag-${flagOf(item)}`);
