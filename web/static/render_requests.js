/* Owns the requests that wait for my answer: who asks what, until when, and what I give. */

import { h, phrase, remember } from "./dom.js";
import { avatar, badge, button, countdown, failure, imageFacts, itemsOf, pictureName, wishText } from "./parts.js";
import { form, personNamed, toAnswer } from "./state.js";
import { texts } from "./language.js";

const cards = new WeakMap();

export function renderRequests(state, act) {
  const waiting = toAnswer(state);
  const parts = (request) => [
    state.library,
    form(state, `request:${request.request}`),
    personNamed(state, request.peer)?.fingerprint,
  ];
  const card = (request) => remember(cards, request, parts(request), () => requestCard(state, act, request));
  return h("section.requests", { "aria-labelledby": "requests-title", "data-count": String(waiting.length) },
    h("h2", { id: "requests-title", tabindex: "-1" }, texts.requests, " ", badge(waiting.length)),
    waiting.length === 0
      ? h("p.hint", null, texts.requestsHint)
      : h("ul.cards", { tabindex: "0", "aria-labelledby": "requests-title" }, waiting.map(card)),
  );
}

function requestCard(state, act, request) {
  const { request: id, kind, verb, peer } = request;
  const key = `request:${id}`;
  const { busy } = form(state, key);
  const offered = verb === "ask" && kind !== "connection" ? itemsOf(state, kind) : null;
  const accept = (event) => {
    event.preventDefault();
    if (!busy && !(offered && offered.length === 0)) act.answer(id, true, event.target.elements.namedItem("choice")?.value);
  };
  return h("li", { key: id },
    h(
      "form.card",
      { onsubmit: accept, "data-request": id, "data-kind": kind, "data-verb": verb, "aria-labelledby": `asks-${id}` },
      h("div.card-head", null,
        avatar(peer, personNamed(state, peer)?.fingerprint),
        h("h3", { id: `asks-${id}`, title: peer }, phrase(texts.asks[kind][verb], { name: peer })),
        countdown(request.expires_at),
      ),
      wishText(request.wish),
      request.image && h("p.hint", null, imageFacts(request.image)),
      kind === "connection" && h("p.hint", null, texts.connectMeans),
      request.unchecked && h("p.unchecked", null, phrase(texts.unchecked, { name: peer })),
      offered && (offered.length ? choice(kind, offered) : h("p.hint", null, texts[kind === "quote" ? "noQuotes" : "noImages"])),
      h("div.actions", null,
        button(texts.accept, () => {}, { look: "primary", type: "submit", busy, disabled: offered?.length === 0 }),
        button(texts.decline, () => act.answer(id, false), { busy }),
      ),
      failure(state, key),
    ),
  );
}

const choice = (kind, items) => (kind === "quote" ? quoteChoice(items) : imageChoice(items));

const quoteChoice = (items) =>
  h("label.field", { key: "choice" },
    h("span", null, texts.whichQuote),
    h("select", { name: "choice" },
      h("option", { key: "", value: "" }, texts.atRandom),
      items.map((item) => h("option", { key: item.item, value: item.item, dir: "auto" }, firstLine(item))),
    ),
  );

const LINE = 70; // characters of a quote in the list of choices

function firstLine(item) {
  const text = item.text.replace(/\s+/g, " ");
  const line = text.length > LINE ? `${text.slice(0, LINE).trimEnd()} …` : text;
  return `${line} — ${item.author || texts.unknownAuthor}`;
}

const imageChoice = (items) =>
  h("fieldset.field", { key: "choice" },
    h("legend", null, texts.whichImage),
    h("div.thumbs", null,
      h("label.thumb.thumb-random", { key: "random" },
        h("input.unseen", { type: "radio", name: "choice", value: "", checked: true }),
        h("span", null, texts.atRandom),
      ),
      items.map((item) =>
        h("label.thumb", { key: item.item, title: pictureName(item) },
          h("input.unseen", { type: "radio", name: "choice", value: item.item }),
          h("img", { src: item.url, alt: pictureName(item), loading: "lazy", decoding: "async" }),
        ),
      ),
    ),
  );
