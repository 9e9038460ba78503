/* Starts the page and joins its parts: news and clicks go through apply(), and each new state is rendered.
   Also owns the address (#with/NAME, #offer, #people), so that reload and the back button keep their place. */

import { makeActions } from "./actions.js";
import { startClock } from "./clock.js";
import { openConnection } from "./connection.js";
import { EVENTS } from "./events.js";
import { whenLoaded } from "./lazy.js";
import { applyTheme } from "./looks.js";
import { render } from "./render.js";
import { apply, initial, toAnswer } from "./state.js";
import { texts } from "./language.js";

const LOOK_AGAIN = 5000; // milliseconds between looks at who is here, while somebody looks at the page

let state = initial;
let drawing = false;

function dispatch(name, value) {
  const next = apply(state, [name, value]);
  if (next === state) return;
  state = next;
  document.title = texts.title(toAnswer(state).length); // at once: a hidden tab draws nothing else
  if (drawing) return;
  drawing = true;
  if (document.hidden) setTimeout(draw, 100);
  else requestAnimationFrame(draw);
}

function draw() {
  drawing = false;
  render(state, act);
}

const call = openConnection(hear, follow);
const act = makeActions(call, dispatch, () => state);

function hear(name, value) {
  if (name === EVENTS.news.notice) return act.notice(value);
  const wasIn = state.me.signed_up;
  dispatch(name, value);
  if (name === EVENTS.news.state && value.me.signed_up && !wasIn) {
    enter();
    if (value.invitation) act.invited(value.invitation);
  }
}

function follow(link) {
  dispatch("link", link);
  if (link === "up" && state.me.signed_up) enter(); // what we show may be old after a pause
}

/** Ask for what `state` does not bring: everybody here, and the open conversation. */
function enter() {
  act.listPeople();
  if (state.peer) act.openPerson(state.peer);
}

function readAddress() {
  const [view, name] = location.hash.slice(1).split("/");
  if (view === "with" && name) {
    const peer = decodeName(name);
    dispatch("route", { view: "talk", peer });
    if (state.me.signed_up) act.openPerson(peer);
  } else if (view === "offer") dispatch("route", { view: "offer" });
  else dispatch("route", { view: "people" });
}

function decodeName(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // typed by hand: nobody has such a name, and the page will say so
  }
}

/** What opens below a summary closes again with Escape and with a click elsewhere. */
function closePopovers(event) {
  for (const box of document.querySelectorAll("details:has(> .popover)[open]")) {
    if (event.key === "Escape" || (event.type === "pointerdown" && !box.contains(event.target))) box.open = false;
  }
}

addEventListener("pointerdown", closePopovers);
addEventListener("keydown", closePopovers);
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.preventDefault()); // no leaving the page
addEventListener("hashchange", readAddress);
document.addEventListener("visibilitychange", draw);
applyTheme();
whenLoaded(draw);
readAddress();
startClock();
setInterval(() => {
  if (!document.hidden && state.link === "up" && state.me.signed_up) act.lookAgain();
}, LOOK_AGAIN);
draw();
