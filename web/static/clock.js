/* Owns the ticking texts: every element with data-until shows the time left to that Unix second.
   They tick without a re-render of the page. */

import { duration } from "./format.js";

const SOON = 30; // seconds: from here on the style warns

export function tick(root = document) {
  const now = Date.now() / 1000;
  for (const element of root.querySelectorAll("[data-until]")) {
    const left = Number(element.dataset.until) - now;
    const text = duration(left);
    if (element.textContent !== text) element.textContent = text;
    element.toggleAttribute("data-soon", left < SOON);
  }
}

export const startClock = () => setInterval(tick, 500);
