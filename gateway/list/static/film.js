// A film with numbered boxes: one drawing for the reading list's panel and for a film that is tried by hand.

import { byId, counted, fromTemplate } from "./words.js";

const boxes = byId("boxes");

/**
 * Show a film.
 *
 * @param src its address.
 * @param rows, columns its size, in source pixels; it may be drawn at another scale.
 * @param marked its boxes: {number, x, y, w, h} in source pixels, x and y of the upper left corner.
 */
export function showFilm({ src, rows, columns, marked }) {
  const film = byId("film");
  byId("frame").style.setProperty("--ratio", String(columns / rows));
  film.alt = marked.length ? `The film, ${counted(marked.length, "part", "parts")} marked` : "The film, nothing marked";
  if (film.getAttribute("src") !== src) film.src = src; // the same image: spare the eye a flicker
  byId("toggle").hidden = !marked.length;
  boxes.replaceChildren(
    ...marked.map(({ number, x, y, w, h }) => {
      const box = fromTemplate("box").firstElementChild;
      box.firstElementChild.textContent = number;
      box.style.left = `${(100 * x) / columns}%`;
      box.style.top = `${(100 * y) / rows}%`;
      box.style.width = `${(100 * w) / columns}%`;
      box.style.height = `${(100 * h) / rows}%`;
      return box;
    }),
  );
}

/** Make one box stand out, or no longer. */
export const markBox = (index, isShown) => boxes.children[index]?.classList.toggle("shown", isShown);

byId("show-boxes").addEventListener("change", (event) => {
  boxes.hidden = !event.target.checked;
});
