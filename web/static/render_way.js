/* Owns what people see of the way between two agents: the badge beside a name, the line above a conversation, and the
   dialog that explains it: path, both networks, what was tried, what would help. The agent writes those sentences. */

import { h, phrase } from "./dom.js";
import { moment, number, percent, size } from "./format.js";
import { button, dialogBox, failure } from "./parts.js";
import { form } from "./state.js";
import { said, texts } from "./language.js";

const isRelayed = (path) => path?.startsWith("relay");

/** How somebody is connected, in two words. */
export const pathWords = (path) => path && h("span.way-words", { "data-path": path }, texts.path[path] ?? path);

/** The same as a badge, or what will be; a colour goes with it. */
const badge = (path, way) =>
  path
    ? h("span.way-badge", { key: "is", "data-way": way, "data-path": path }, texts.path[path] ?? path)
    : h("span.way-badge", { key: "will", "data-way": `will-${way}` }, texts.will[way]);

/** One line above the conversation: what the path is, or will be, and why it is not better. */
export function wayLine(act, { name, path, forecast, key_changed: changed }) {
  if (changed || (!path && !forecast)) return null;
  const way = path ? (isRelayed(path) ? "relayed" : "direct") : forecast.path;
  return h("p.way", { "data-way": way },
    badge(path, way),
    h("span.way-why", { dir: "auto" }, why(path, forecast)),
    button(texts.howConnected, () => act.openDoctor(name), { look: "quiet small" }),
  );
}

/** The reason, where there is something to explain. */
function why(path, forecast) {
  if (path && !isRelayed(path)) return null;
  if (path && forecast?.path === "direct") return texts.stillLooking;
  return forecast && said(forecast.because);
}

export function doctorDialog(state, act, peer) {
  const found = state.doctor?.peer === peer ? state.doctor : null;
  return dialogBox(
    "doctor",
    phrase(texts.howConnectedWith, { name: peer }),
    act,
    h("div.scroll.doctor-inner", { tabindex: "0", role: "group", "aria-labelledby": "dialog-title" },
      found ? findings(found, peer) : !form(state, "doctor").error && h("p.hint", { role: "status" }, texts.examining),
    ),
    failure(state, "doctor"),
  );
}

function findings({ path, forecast, connection, advice, mine, theirs, relay, tried }, peer) {
  const way = path ? (isRelayed(path.kind) ? "relayed" : "direct") : forecast.path;
  return [
    h("div.way-head", { "data-way": way, role: "status" },
      badge(path?.kind, way),
      h("p", null, path ? texts.pathMeans[path.kind] : texts.connection[connection]),
      (!path || isRelayed(path.kind)) && h("p", { dir: "auto" }, because(path, forecast)),
    ),
    h("div.advice", null, h("h3", null, texts.whatHelps), h("p", { dir: "auto" }, said(advice))),
    (path || relay) && h("dl.way-facts", null, facts(path, relay)),
    h("div.networks", null,
      network(texts.myNetwork, mine),
      network(phrase(texts.networkOf, { name: peer }), theirs),
    ),
    tries(texts.triedHere, tried.filter(({ side }) => side === "here")),
    tries(phrase(texts.triedThere, { name: peer }), tried.filter(({ side }) => side === "there")),
  ];
}

function because(path, forecast) {
  const sentence = said(forecast.because);
  return path && forecast.path === "direct" ? phrase(texts.shouldBeDirect, { because: sentence }) : sentence;
}

function facts(path, relay) {
  const milliseconds = (ms) => phrase(texts.milliseconds, { ms: number(ms) });
  const line = (term, value) => h("div", { key: term }, h("dt", null, term), h("dd", { dir: "auto" }, value));
  return [
    path?.rtt != null && line(texts.pathRtt, milliseconds(path.rtt)),
    path?.loss != null && line(texts.pathLoss, percent(path.loss)),
    path?.since && line(texts.pathSince, moment(path.since)),
    path?.address && line(texts.theirAddress, path.address),
    relay && line(!path || isRelayed(path.kind) ? texts.relay : texts.relayReady, relay.server ?? texts.relayWeb),
    relay?.left != null && line(texts.relayLeft, size(relay.left)),
    relay?.rtt != null && line(texts.relayRtt, milliseconds(relay.rtt)),
  ];
}

const network = (title, told) =>
  h("figure.key", null, h("figcaption", null, title), h("p", null, told ? said(told.sentence) : texts.notToldYet));

const tries = (title, several) =>
  several.length > 0 && [
    h("h3", null, title),
    h("ul.tries", null,
      several.map(({ sentence, outcome }, index) => h("li", { key: String(index), "data-outcome": outcome, dir: "auto" }, said(sentence))),
    ),
  ];

/** In "Who I am": what stands between this machine and the internet, and where others may find it. */
export function myNetwork({ nat, candidates = [] }) {
  return nat && [
    h("dt", { key: "network" }, texts.myNetwork),
    h("dd", { key: "network" }, said(nat.sentence)),
    candidates.length > 0 && h("dt", { key: "addresses" }, texts.myAddresses),
    candidates.map(({ address, found }) => h("dd", { key: address }, h("code", null, address), " ", texts.found[found])),
  ];
}
