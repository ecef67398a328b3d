// What this page knows of the list: the items, and the order in which they are read.

const items = new Map(); // address -> item of GET /worklist
const keys = new Map(); // address -> what the order depends on
const moved = new Map(); // address that a study had before -> the one that it has
let sorted = null; // the items in reading order, until the next change
let boundary = null; // while the list is still loading: beyond this key other studies are not known yet

const text = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function keyOf(item) {
  return {
    stat: item.order_priority === "STAT" ? 0 : 1,
    queueAt: Date.parse(item.queue_at),
    receivedAt: Date.parse(item.received_at),
    uid: item.address,
  };
}

/** STAT first, then queue_at, received_at and what names the study: OrderKey of worklist/order.py. */
const compare = (a, b) =>
  a.stat - b.stat || a.queueAt - b.queueAt || a.receivedAt - b.receivedAt || text(a.uid, b.uid);

export const get = (uid) => items.get(uid);
export const size = () => items.size;

/** The studies that arrived before a moment, the first ones first: pairs of an item and its arrival, in ms. */
export function arrivedBefore(moment) {
  return [...keys.values()]
    .filter((key) => key.receivedAt < moment)
    .sort((a, b) => a.receivedAt - b.receivedAt)
    .map((key) => items.get(key.uid));
}

/** Take in an item; whether that lets the study rise. */
export function put(item) {
  const uid = item.address;
  forgetOtherAddress(item);
  const before = keys.get(uid);
  const key = keyOf(item);
  items.set(uid, item);
  keys.set(uid, key);
  sorted = null;
  return Boolean(before) && compare(key, before) < 0;
}

/** A study is named by Orthanc's identifier once another patient has its UID, and by the UID again afterwards. */
function forgetOtherAddress(item) {
  for (const other of [item.orthanc_id, item.study_instance_uid]) {
    if (other === item.address || items.get(other)?.orthanc_id !== item.orthanc_id) continue;
    drop(other);
    moved.set(other, item.address);
    moved.delete(item.address);
  }
}

/** The present address of a study that is on the list. */
export const nowAt = (uid) => (items.has(uid) ? uid : moved.get(uid) ?? uid);

/** By what name this page knows the study that a gone event tells of: of two with one UID it tells Orthanc's too. */
export function addressOf({ study_instance_uid: uid, orthanc_id: orthancId }) {
  return orthancId && items.get(uid)?.orthanc_id !== orthancId ? orthancId : uid;
}

/** Forget a study; whether it was known. */
export function drop(uid) {
  keys.delete(uid);
  sorted = null;
  return items.delete(uid);
}

/** Forget all but these. */
export function keepOnly(uids) {
  for (const uid of [...items.keys()]) if (!uids.has(uid)) drop(uid);
}

/** Until the whole list is known, only what stands up to here has its place; null for all of it. */
export function setBoundary(item) {
  boundary = item && keyOf(item);
  sorted = null;
}

/** The items in reading order, as far as it is known. */
export function inOrder() {
  if (!sorted) {
    const known = [...keys.values()].sort(compare);
    const placed = boundary ? known.filter((key) => compare(key, boundary) <= 0) : known;
    sorted = placed.map((key) => items.get(key.uid));
  }
  return sorted;
}

/** A study, and behind it the earlier one whose film it was compared with: the viewer hangs both. */
export const withPrior = ({ study_instance_uid: uid, comparison }) =>
  [uid, comparison?.study_instance_uid].filter(Boolean);
