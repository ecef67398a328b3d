// The reading list, live. The server draws the first list; from then on the truth is GET /worklist, fetched at each
// (re)connection and once a minute, plus one server-sent event for each item that changed or left in between.
// Everything from the outside is written as text, never as markup.

const LIMIT = 500;
const RESYNC_MS = 60_000;
const RETRY_MS = 3_000;
const PATIENCE_MS = 10_000; // a host that vanished or hangs closes no connection: silence must not pass for "Live"
const TICK_MS = 5_000;
const RISEN_MS = 6_000;
const MOVE_MS = 450;
const CLOCK_TOLERANCE_MS = 5_000; // the Date header has whole seconds only

const byId = (id) => document.getElementById(id);
const table = byId("worklist");
const tbody = byId("rows");
const panel = byId("details");
const prefersStill = matchMedia("(prefers-reduced-motion: reduce)");

const items = new Map(); // study_instance_uid -> item of GET /worklist
const rows = new Map(); // study_instance_uid -> its table row
const risen = new Map(); // study_instance_uid -> {from: rank, until: time} of a row that just moved up
let order = []; // the items in reading order
let total = 0; // studies on the server's list, which may be more than LIMIT
let current = null; // study_instance_uid that the keyboard is on
let open = null; // study_instance_uid in the details panel
let shownState = ""; // "" shows every state
let clockOffset = 0; // server's clock less this one's, in ms: workstations' clocks are often wrong

// ---- The order and the words -----------------------------------------------------------------------------------

const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** STAT first, then queue_at, received_at and the Study Instance UID: the server's order. */
function byReadingOrder(a, b) {
  return (
    (b.order_priority === "STAT") - (a.order_priority === "STAT") ||
    Date.parse(a.queue_at) - Date.parse(b.queue_at) ||
    Date.parse(a.received_at) - Date.parse(b.received_at) ||
    text(a.study_instance_uid, b.study_instance_uid)
  );
}

/** person_name of worklist/person_name.py: the same words for the same name. */
function personName(value) {
  const groups = value.split("=", 3).map((group, place) => {
    const [family, given, middle, prefix, suffix] = group.split("^").map((part) => part.trim());
    const joined = (...parts) => parts.filter(Boolean).join(" ");
    return [family, joined(given, middle), joined(prefix, suffix)].filter(Boolean).join(place ? " " : ", ");
  });
  const shown = groups.find(Boolean) ?? "No name";
  const ideographic = groups[1] ?? "";
  return { shown, ideographic: ideographic === shown ? "" : ideographic };
}

/** waiting of gateway/list/pages.py: the same words for the same time. */
function waiting(receivedAt) {
  const minutes = Math.max(0, Math.floor((Date.now() + clockOffset - Date.parse(receivedAt)) / 60_000));
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return minutes ? `${minutes} min` : "< 1 min";
}

/** Two decimals, and never a certainty: a model's 0.004 is not 0.00. */
const twoDecimals = (p) => (p < 0.005 ? "< 0.01" : p >= 0.995 ? "> 0.99" : p.toFixed(2));
const localTime = (iso) => new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
const priority = (item) => (item.order_priority === "ROUTINE" ? "" : item.order_priority);
const fromTemplate = (id) => byId(id).content.cloneNode(true);

function fill(root, values) {
  for (const [field, value] of Object.entries(values)) {
    const node = root.querySelector(`[data-field="${field}"]`);
    if (value instanceof Node) node.replaceChildren(value);
    else if (node.textContent !== String(value ?? "")) node.textContent = value ?? "";
  }
}

function sharedFields(item) {
  const { shown, ideographic } = personName(item.patient_name);
  return {
    name: shown,
    ideographic,
    urgency: fromTemplate(`urgency-${item.urgency ?? "unscored"}`),
    state: fromTemplate(`state-${item.state}`),
    order: priority(item),
    patient_id: item.patient_id,
    study_description: item.study_description,
    modality: item.modality,
    accession_number: item.accession_number,
    reason: item.reason,
  };
}

// ---- The list --------------------------------------------------------------------------------------------------

function put(item) {
  const uid = item.study_instance_uid;
  const before = items.get(uid);
  if (!before) total += 1;
  items.set(uid, item);
  if (before && byReadingOrder(item, before) < 0) {
    const from = order.findIndex((other) => other.study_instance_uid === uid) + 1;
    risen.set(uid, { from, until: Date.now() + RISEN_MS });
    setTimeout(scheduleRender, RISEN_MS + 50);
  }
}

function rowOf(item) {
  let row = rows.get(item.study_instance_uid);
  if (!row) {
    row = fromTemplate("study-row").firstElementChild;
    row.dataset.uid = item.study_instance_uid;
    rows.set(item.study_instance_uid, row);
  }
  if (row.shownItem !== item) {
    row.shownItem = item;
    row.dataset.urgency = item.urgency ?? "unscored";
    row.dataset.priority = item.order_priority;
    row.querySelector("time").dateTime = item.received_at;
    fill(row, { ...sharedFields(item), waiting: waiting(item.received_at) });
  }
  return row;
}

function render() {
  scheduled = false;
  const focused = tbody.contains(document.activeElement) ? document.activeElement : null;
  const moves = !prefersStill.matches && document.visibilityState === "visible";
  const topBefore = new Map();
  if (moves) for (const row of tbody.rows) topBefore.set(row, row.getBoundingClientRect().top);

  order = [...items.values()].sort(byReadingOrder).slice(0, LIMIT);
  const listed = new Set(order.map((item) => item.study_instance_uid));
  for (const [uid, row] of rows) {
    if (listed.has(uid)) continue;
    row.remove();
    rows.delete(uid);
    items.delete(uid);
  }

  let next = tbody.firstElementChild;
  order.forEach((item, index) => {
    const row = rowOf(item);
    fill(row, { rank: index + 1 });
    row.hidden = Boolean(shownState) && item.state !== shownState;
    markRise(item, row, index + 1);
    if (row === next) next = next.nextElementSibling;
    else tbody.insertBefore(row, next);
  });

  table.hidden = !order.length;
  byId("empty").hidden = Boolean(order.length);
  byId("none-in-state").hidden = !order.length || order.some((item) => !rows.get(item.study_instance_uid).hidden);
  byId("more").hidden = total <= LIMIT;
  byId("more").textContent = `The first ${LIMIT} of ${total} studies are shown.`;
  renderCounts();
  if (current === null || !listed.has(current)) current = order[0]?.study_instance_uid ?? null;
  renderSelection();

  // A row that moves in the document loses the keyboard's focus.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  if (moves) glide(topBefore);
}

function markRise(item, row, rank) {
  const uid = item.study_instance_uid;
  const rise = risen.get(uid);
  if (rise && Date.now() >= rise.until) risen.delete(uid);
  const marked = risen.has(uid) && rank < rise.from;
  if (marked && !row.classList.contains("risen")) {
    byId("news").textContent = `${personName(item.patient_name).shown} moved up from ${rise.from} to ${rank}. ${item.reason}`;
  }
  row.classList.toggle("risen", marked);
  fill(row, { rose: marked ? `▲ from ${rise.from}` : "" });
}

/** Let each row slide from where it was to where it is (the FLIP technique). */
function glide(topBefore) {
  for (const row of tbody.rows) {
    if (row.hidden) continue;
    const distance = topBefore.has(row) ? topBefore.get(row) - row.getBoundingClientRect().top : 0;
    if (!topBefore.has(row)) row.animate([{ opacity: 0 }, { opacity: 1 }], MOVE_MS);
    else if (Math.abs(distance) > 1) {
      row.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], {
        duration: MOVE_MS,
        easing: "cubic-bezier(.2, 0, .1, 1)",
      });
    }
  }
}

function renderCounts() {
  for (const button of byId("filters").querySelectorAll("button")) {
    const state = button.dataset.state;
    button.querySelector("b").textContent = state ? order.filter((item) => item.state === state).length : order.length;
    button.setAttribute("aria-pressed", String(state === shownState));
  }
  const count = (key) => order.filter((item) => item.urgency === key).length;
  byId("tally").textContent = order.length ? `${count("critical")} critical, ${count("urgent")} urgent` : "";
  document.title = `${count("critical") ? `(${count("critical")}) ` : ""}Reading list · Firstread`;
}

let scheduled = false;
function scheduleRender() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(render, 30); // one drawing for a burst of events
}

function tick() {
  for (const row of tbody.rows) if (row.shownItem) fill(row, { waiting: waiting(row.shownItem.received_at) });
}

// ---- The selection and the details panel -----------------------------------------------------------------------

function renderSelection() {
  for (const [uid, row] of rows) {
    const button = row.querySelector("button");
    button.tabIndex = uid === current ? 0 : -1;
    button.setAttribute("aria-expanded", String(uid === open));
    row.classList.toggle("selected", uid === open);
  }
  const item = items.get(open);
  if (!item) open = null;
  panel.hidden = !item;
  document.body.classList.toggle("with-details", Boolean(item));
  if (item && panel.shownItem !== item) renderDetails(item);
}

function renderDetails(item) {
  const isOther = panel.shownItem?.study_instance_uid !== item.study_instance_uid;
  panel.shownItem = item;
  panel.dataset.priority = item.order_priority;
  const shared = sharedFields(item);
  fill(panel, {
    ...shared,
    state_meaning: shared.state.querySelector(".mark").title,
    failure_message: item.failure?.message,
    failure_code: item.failure?.code,
    score: item.findings.length
      ? `Score ${twoDecimals(item.score)}: the probability of any urgent finding.`
      : "None computed. That says nothing about the film.",
    operating_points: item.findings.length ? "Marks: operating points. Bold: reached." : "",
    explanation: item.explanation,
    received: localTime(item.received_at),
    study_instance_uid: item.study_instance_uid,
    model: item.model ? `${item.model.name} ${item.model.version}` : "not stated",
    weights: item.model ? `SHA-256 ${item.model.sha256}` : "not stated",
    results: item.result_series_uids.length ? `Series ${item.result_series_uids.join(", ")}` : "no results yet",
  });
  byId("failure").hidden = !item.failure;
  byId("explanation").hidden = !item.explanation;
  byId("provenance").hidden = item.score === null;
  renderFindings(item);
  renderQuality(item);
  renderCrops(item);
  const viewer = panel.querySelector('[data-field="viewer"]');
  byId("viewer").hidden = !viewer.dataset.prefix;
  if (viewer.dataset.prefix) viewer.href = viewer.dataset.prefix + encodeURIComponent(item.study_instance_uid);
  if (isOther) panel.scrollTop = 0;
}

function renderFindings(item) {
  const list = panel.querySelector('[data-field="findings"]');
  list.replaceChildren(
    ...item.findings.map((finding) => {
      const line = fromTemplate("finding").firstElementChild;
      fill(line, { finding: finding.side ? `${finding.name}, patient's ${finding.side}` : finding.name });
      line.classList.toggle("positive", finding.probability >= finding.threshold);
      const meter = line.querySelector("meter");
      meter.value = finding.probability;
      meter.setAttribute("aria-label", `${finding.name}, operating point ${twoDecimals(finding.threshold)}`);
      line.querySelector("i").style.left = `${100 * finding.threshold}%`;
      line.querySelector("output").textContent = twoDecimals(finding.probability);
      return line;
    }),
  );
}

function renderQuality(item) {
  byId("quality").hidden = !item.quality.length;
  panel.querySelector('[data-field="quality"]').replaceChildren(
    ...item.quality.map((note) => {
      const line = document.createElement("li");
      line.textContent = note.message;
      return line;
    }),
  );
}

function renderCrops(item) {
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

/** Open or close the panel, which changes every row's height, and leave the current row under the reader's eyes. */
function setOpen(uid) {
  const top = () => rows.get(current)?.getBoundingClientRect().top ?? 0;
  const before = top();
  open = uid;
  renderSelection();
  scrollBy({ top: top() - before, behavior: "instant" });
}

function toggle(uid) {
  current = uid;
  setOpen(open === uid ? null : uid);
}

function close() {
  if (open === null) return;
  setOpen(null);
  rows.get(current)?.querySelector("button").focus({ preventScroll: true });
}

function step(by) {
  const shown = order.map((item) => item.study_instance_uid).filter((uid) => !rows.get(uid).hidden);
  if (!shown.length) return;
  const inList = tbody.contains(document.activeElement) || open !== null;
  const at = shown.indexOf(current);
  const to = at < 0 || !inList ? Math.max(at, 0) : Math.min(Math.max(at + by, 0), shown.length - 1);
  current = shown[to];
  if (open !== null) open = current; // the panel follows
  renderSelection();
  rows.get(current).querySelector("button").focus();
}

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") return close();
  // Single letters act only on the list, so that they never surprise a person in another control (WCAG 2.1.4).
  const inList = tbody.contains(event.target) || event.target === document.body;
  const inPanel = panel.contains(event.target) && (event.key === "j" || event.key === "k");
  if (!(event.key in STEPS) || !(inList || inPanel)) return;
  if (event.target === document.body && (event.key === "Home" || event.key === "End")) return;
  event.preventDefault();
  step(STEPS[event.key]);
}

function onRowClick(event) {
  const row = event.target.closest("tr");
  const isMouse = event.detail > 0;
  if (!row || (isMouse && String(getSelection()))) return; // marking a patient ID to copy it is no click
  if (isMouse && row.getAnimations().length) return; // it slid under the pointer: another one was meant
  toggle(row.dataset.uid);
  row.querySelector("button").focus({ preventScroll: true });
}

// ---- The connection --------------------------------------------------------------------------------------------

let asOf = "";
let missing = ""; // what the gateway itself lacks, so that a list that is live may yet be incomplete
let link = "connecting";
function show(now = link) {
  link = now;
  const shown = link === "live" && missing ? "short" : link;
  const connection = byId("connection");
  const words = {
    connecting: "Connecting",
    live: "Live",
    short: `Live, but new studies or scores may be missing: no answer from ${missing}`,
    reconnecting: asOf ? `Not live: list as of ${asOf}, reconnecting` : "Not live: reconnecting",
  };
  connection.dataset.link = shown;
  if (connection.textContent !== words[shown]) connection.textContent = words[shown]; // it is read aloud at each change
}

let loading = false;
let loadAgain = false;
let retry;
const told = new Map(); // what events said while a full list was on its way, which is newer: an item, or null if gone

async function load() {
  if (loading) {
    loadAgain = true;
    return;
  }
  loading = true;
  told.clear();
  try {
    const response = await fetch(`worklist?limit=${LIMIT}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!response.ok) throw new Error(`GET /worklist answered ${response.status}`);
    const page = await response.json();
    const date = Date.parse(response.headers.get("Date") ?? "");
    const offset = date - Date.now();
    clockOffset = Math.abs(offset) > CLOCK_TOLERANCE_MS ? offset : 0;
    const latest = new Map([...page.items.map((item) => [item.study_instance_uid, item]), ...told]);
    for (const uid of items.keys()) if (!latest.get(uid)) items.delete(uid);
    for (const item of latest.values()) if (item) put(item);
    total = page.total;
    asOf = new Date().toLocaleTimeString();
    render();
    show(source.readyState === EventSource.OPEN ? "live" : link);
    checkGateway();
  } catch {
    show("reconnecting");
    clearTimeout(retry);
    retry = setTimeout(load, RETRY_MS);
  } finally {
    loading = false;
    if (loadAgain) {
      loadAgain = false;
      load();
    }
  }
}

/** Ask GET /ready which of the parts behind the gateway do not answer, and say so. */
async function checkGateway() {
  const parts = { database: "the database", broker: "the broker", orthanc: "Orthanc" };
  try {
    const { checks } = await (await fetch("ready", { cache: "no-store" })).json();
    missing = Object.keys(parts).filter((key) => !checks[key].ok).map((key) => parts[key]).join(" and ");
    show();
  } catch {
    // No answer at all shows in the list's own connection.
  }
}

let source;
function connect() {
  source = new EventSource("worklist/events");
  source.addEventListener("open", load);
  source.addEventListener("item", (event) => {
    const item = JSON.parse(event.data);
    told.set(item.study_instance_uid, item);
    put(item);
    scheduleRender();
  });
  source.addEventListener("gone", (event) => {
    const uid = JSON.parse(event.data).study_instance_uid;
    told.set(uid, null);
    if (items.delete(uid)) total -= 1;
    scheduleRender();
  });
  source.addEventListener("error", () => {
    show("reconnecting");
    // The browser tries again by itself unless the server answered with an error.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

for (const row of tbody.rows) rows.set(row.dataset.uid, row);
tbody.addEventListener("click", onRowClick);
document.addEventListener("keydown", onKey);
byId("close").addEventListener("click", close);
byId("filters").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  shownState = button.dataset.state;
  render();
});
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && load());
setInterval(tick, TICK_MS);
setInterval(load, RESYNC_MS);
connect();
load(); // a proxy that holds events back must not leave the page without a list
