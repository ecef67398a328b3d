// What of the list is shown: searched, filtered, and kept in the page's address, so that it can be shared and reloaded.

import { isMine } from "./readings.js";
import * as store from "./store.js";
import { byId, flagOf, now } from "./words.js";

const TARGET_MS = 1000 * Number(document.body.dataset.targetS);
const LONGER_THAN_MS = { "1h": 3_600_000, target: TARGET_MS };
const PAUSE_MS = 800; // after which what is shown is read aloud
const CHOICES = ["flag", "order", "ward", "wait", "ai"]; // each is a control's id and a part of the address
const APART = { ł: "l", ø: "o", đ: "d", ð: "d", ħ: "h", ı: "i", ß: "ss", æ: "ae", œ: "oe", þ: "th" }; // marks do not make them

const search = byId("search");
const onlyMine = byId("mine");
const folded = new WeakMap(); // item -> what a search looks into
let changed; // told when the reader changes what is shown
let words = []; // of the search
let saying; // timer

export const isOverdue = (item) => now() - Date.parse(item.received_at) > TARGET_MS;
export const overdue = () => store.arrivedBefore(now() - TARGET_MS);

/** Text without accents, case, invisible marks and the separators of names. */
function fold(text) {
  if (!/[^ -~]/.test(text)) return text.toLowerCase().replace(/[\^=,\s]+/g, " ").trim(); // most are so, and this is soon done
  const plain = text.normalize("NFKD").replace(/[\p{M}\p{Cf}]/gu, "").toLowerCase();
  return plain.replace(/[łøđðħıßæœþ]/g, (letter) => APART[letter]).replace(/[\^=,\s]+/g, " ").trim();
}

function textOf(item) {
  if (!folded.has(item)) folded.set(item, fold(`${item.patient_name} ${item.patient_id} ${item.accession_number}`));
  return folded.get(item);
}

/** Whether a study is shown. */
export function isShown(item) {
  const { flag, order, ward, wait, ai, mine } = chosen;
  return (
    (!flag || flagOf(item) === flag) &&
    (!order || item.order_priority === order) &&
    (!ward || item.ward === ward) &&
    (!wait || now() - Date.parse(item.received_at) > LONGER_THAN_MS[wait]) &&
    (!ai || item.state === ai) &&
    (!mine || isMine(item)) &&
    words.every((word) => textOf(item).includes(word))
  );
}

// ---- The controls and the address ----

const chosen = { mine: "" };

const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
const press = (button, isDown) => button.setAttribute("aria-pressed", String(isDown));

/** Whether anything is left out. */
export const isFiltered = () => Boolean(words.length) || Object.values(chosen).some(Boolean);

/** Whether a waiting time is asked for, so that what is shown changes by itself. */
export const isTimed = () => Boolean(chosen.wait);

function offer(select, value) {
  if (!value || [...select.options].some((option) => option.value === value)) return;
  select.add(new Option(value, value));
}

function read() {
  const asked = new URLSearchParams(location.search);
  search.value = asked.get("q") ?? "";
  press(onlyMine, asked.get("mine") === "1");
  for (const name of CHOICES) {
    const select = byId(name);
    if (name === "ward") offer(select, asked.get(name)); // its studies may be yet to come
    select.value = asked.get(name) ?? "";
    if (select.selectedIndex < 0) select.value = "";
  }
  take();
}

function take() {
  words = fold(search.value).split(" ").filter(Boolean);
  chosen.mine = isPressed(onlyMine) ? "1" : "";
  for (const name of CHOICES) chosen[name] = byId(name).value;
  press(byId("only-overdue"), chosen.wait === "target");
}

function write() {
  take();
  const url = new URL(location.href);
  for (const [name, value] of Object.entries({ q: search.value.trim(), ...chosen })) {
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  history.replaceState(null, "", url);
  changed();
  clearTimeout(saying);
  saying = setTimeout(() => {
    byId("news").textContent = byId("shown").textContent || "All shown";
  }, PAUSE_MS);
}

/** Show everything again. */
export function clearFilters() {
  search.value = "";
  press(onlyMine, false);
  for (const name of CHOICES) byId(name).value = "";
  write();
}

/** Show alone what waits beyond the site's target, or everything that else is asked for. */
export function toggleOverdue() {
  byId("wait").value = chosen.wait === "target" ? "" : "target";
  write();
}

let wards = "";

/** Say how much is shown, offer the wards there are, and count flags and states. */
export function drawFilters(order, count) {
  const found = [...new Set(order.map((item) => item.ward).filter(Boolean))].sort();
  if (found.join("\n") !== wards) {
    wards = found.join("\n");
    const select = byId("ward");
    const value = select.value;
    select.length = 1;
    for (const ward of found) offer(select, ward);
    offer(select, value);
    select.value = value;
  }
  byId("ward").hidden = byId("ward").length < 2;
  for (const [name, keyOf] of [["flag", flagOf], ["ai", (item) => item.state]]) {
    for (const option of byId(name).options) {
      if (!option.value) continue;
      option.dataset.label ??= option.text;
      const text = `${option.dataset.label} (${order.filter((item) => keyOf(item) === option.value).length})`;
      if (option.text !== text) option.text = text;
    }
  }
  const said = isFiltered() ? `${count} of ${order.length} shown` : "";
  byId("shown").hidden = byId("clear-filters").hidden = !said;
  if (byId("shown").textContent !== said) byId("shown").textContent = said;
}

/** Begin; onChange is called whenever the reader changes what is shown. */
export function startFilters(onChange) {
  changed = onChange;
  read();
  search.addEventListener("input", write);
  for (const name of CHOICES) byId(name).addEventListener("change", write);
  onlyMine.addEventListener("click", () => {
    press(onlyMine, !isPressed(onlyMine));
    write();
  });
  byId("only-overdue").hidden = false;
  byId("only-overdue").addEventListener("click", toggleOverdue);
  for (const id of ["clear-filters", "clear-none"]) {
    byId(id).addEventListener("click", () => {
      clearFilters();
      search.focus();
    });
  }
}
