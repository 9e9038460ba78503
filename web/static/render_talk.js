/* Owns the open conversation: whose it is, what happened, and what can be asked now. */

import { h, isolated, phrase, plain, remember } from "./dom.js";
import { day, dayOf, iso } from "./format.js";
import { avatar, button, countdown, failure, presence, sign, steps } from "./parts.js";
import { renderEntry } from "./render_entry.js";
import { changedKey } from "./render_keys.js";
import { wayLine } from "./render_way.js";
import { form, openConnection, personNamed, timelineOf } from "./state.js";
import { texts } from "./language.js";

const entries = new WeakMap();

export function renderTalk(state, act) {
  if (!state.peer) return h("section.talk", { key: "none", "aria-labelledby": "talk-title" }, howItGoes());
  const person = personNamed(state, state.peer);
  return h("section.talk", { key: state.peer, "aria-labelledby": "talk-title" },
    heading(state, act, person),
    person && wayLine(act, person),
    timeline(state, act),
    person ? composer(state, act, person) : h("div.composer", null, unknown(state)),
  );
}

const howItGoes = () =>
  h("div.welcome", null,
    h("h2", { id: "talk-title" }, texts.chooseSomebody),
    steps(),
  );

function unknown(state) {
  const { busy, error } = form(state, `person:${state.peer}`);
  return busy ? null : h("p.hint", { role: "status" }, error || texts.unknownPerson);
}

function heading(state, act, person) {
  const { busy } = form(state, `ask:${state.peer}`);
  return h("header.talk-head", null,
    h("a.back", { href: "#people", "aria-label": texts.back }, sign("back")),
    avatar(state.peer, person?.fingerprint),
    h("div.person-text", null,
      h("h2.name", { id: "talk-title", title: state.peer }, isolated(state.peer)),
      person && presence(person),
    ),
    person?.words && !person.key_changed &&
      button(person.verified ? texts.compared : texts.compareKeys, () => act.openDialog({ kind: "keys", peer: state.peer }), {
        look: "quiet compare",
        icon: person.verified ? "check" : "key",
        title: texts.compareKeys,
      }),
    person?.connected && button(texts.disconnect, () => act.disconnect(state.peer), { look: "quiet", busy }),
  );
}

/** Oldest first; the box keeps to its end as long as the reader does (column-reverse in the style). */
function timeline(state, act) {
  const { peer } = state;
  const shown = timelineOf(state, peer);
  const { busy } = form(state, `timeline:${peer}`);
  return h(
    "div.scroll.timeline",
    { tabindex: "0", role: "region", "aria-label": plain(texts.timelineOf, { name: peer }) },
    h("div.timeline-inner", null,
      state.timelines[peer]?.next && button(texts.older, () => act.older(peer), { look: "quiet", busy, key: "older" }),
      failure(state, `timeline:${peer}`),
      shown.length === 0 && !busy && h("p.empty", null, phrase(texts.nothingYet, { name: peer })),
      h("ol.entries", null,
        shown.map((request, at) => [
          dayOf(shown[at - 1]?.created_at) !== dayOf(request.created_at) && separator(request.created_at),
          remember(entries, request, [form(state, `request:${request.request}`)], () => renderEntry(state, act, request)),
        ]),
      ),
    ),
  );
}

const separator = (seconds) =>
  h("li.day", { key: `day ${dayOf(seconds)}` }, h("time", { datetime: iso(seconds) }, day(seconds)));

/** Only what makes sense now: decide about a key, ask to connect, wait for it, or ask for things. */
function composer(state, act, person) {
  const key = `ask:${person.name}`;
  const open = openConnection(state, person.name);
  const name = { name: person.name };
  const content = person.key_changed
    ? changedKey(state, act, person)
    : person.connected
    ? askForThings(state, act, person)
    : open?.direction === "in"
      ? h("p.hint", { key: "theirs" }, phrase(texts.theyAsked, name))
      : open
        ? waitForThem(state, act, open)
        : askToConnect(state, act, person);
  return h("div.composer", null, content, failure(state, key));
}

/** Ask with the wish that stands in the form, and empty it once it is on its way. */
const asking = (act, kind, peer) => async (event) => {
  const { wish } = event.currentTarget.form.elements;
  if (await act.ask(kind, peer, wish.value.trim())) wish.value = "";
};

const wishField = (label, disabled) =>
  h("input.wish-field", { name: "wish", maxlength: "200", placeholder: label, "aria-label": label, disabled, dir: "auto", autocomplete: "off" });

const noSubmit = (event) => event.preventDefault();

function askForThings(state, act, { name }) {
  const { busy } = form(state, `ask:${name}`);
  return h("form.ask", { key: "things", onsubmit: noSubmit },
    wishField(texts.wish),
    h("div.actions", null,
      button(texts.askQuote, asking(act, "quote", name), { look: "primary", icon: "quote", busy }),
      button(texts.askImage, asking(act, "image", name), { look: "primary", icon: "image", busy }),
      button(texts.offerSomething, () => act.openDialog({ kind: "offer", peer: name }), { icon: "gift", busy }),
    ),
  );
}

function askToConnect(state, act, person) {
  const { busy } = form(state, `ask:${person.name}`);
  const sentence = person.online ? texts.mustConnect : texts.isOffline;
  return h("form.ask", { key: "connect", onsubmit: noSubmit },
    h("p.hint", { id: "why" }, phrase(sentence, { name: person.name })),
    person.unchecked && h("p.unchecked", null, phrase(texts.unchecked, { name: person.name })),
    person.online && wishField(texts.wishConnect),
    h("div.actions", null,
      button(texts.askToConnect, asking(act, "connection", person.name), {
        look: "primary",
        icon: "link",
        busy,
        disabled: !person.online,
        "aria-describedby": "why",
      }),
    ),
  );
}

function waitForThem(state, act, open) {
  const { busy } = form(state, `request:${open.request}`);
  return h("div.ask", { key: "wait" },
    h("p.hint", null, phrase(texts.phase.waiting.out, { name: open.peer }), " · ", countdown(open.expires_at)),
    h("div.actions", null, button(texts.cancel, () => act.cancel(open.request), { busy })),
  );
}
