/* Owns the small pieces that several regions of the page are built from. Each gives a description for patch(). */

import { h, phrase } from "./dom.js";
import { moment, number, size } from "./format.js";
import { form } from "./state.js";
import { texts } from "./language.js";

/** An icon: for the eye alone, the name stands beside it. */
export const sign = (icon) => h(`span.icon.icon-${icon}`, { "aria-hidden": "true" });

/** A button with a name; while its call is under way it keeps the focus but does nothing. */
export function button(label, onclick, { look = "", icon = "", busy = false, disabled = false, ...props } = {}) {
  return h(
    "button.button",
    {
      type: "button",
      class: look,
      disabled,
      "aria-disabled": busy && "true",
      onclick: (event) => busy || onclick(event),
      ...props,
    },
    icon && sign(icon),
    h("span", null, label),
  );
}

/** A button that shows only its icon; its name is for those who hear it or point at it. */
export const iconButton = (label, icon, onclick, props = {}) =>
  h("button.icon-button", { type: "button", title: label, "aria-label": label, onclick, ...props }, sign(icon));

/** The sentence that a call failed with, beside the button that made it. */
export function failure(state, key) {
  const { error } = form(state, key);
  return error && h("p.failure", { role: "alert", dir: "auto" }, error);
}

/** First letter on a colour that belongs to the key. */
export function avatar(name, fingerprint = "") {
  let sum = 0;
  for (const letter of fingerprint || name) sum = (sum * 31 + letter.codePointAt(0)) % 65_521;
  const first = name.match(/[\p{L}\p{N}]/u)?.[0].toLocaleUpperCase() ?? "?";
  return h("span.avatar", { style: { "--hue": String(sum % 360) }, "aria-hidden": "true" }, first);
}

export function presence(person, path) {
  const where = person.key_changed ? "changed" : !person.online ? "offline" : person.connected ? "connected" : "online";
  const seen = where === "offline" && person.last_seen;
  return h("span.presence", { "data-presence": where },
    h("span.dot", { "aria-hidden": "true" }),
    h("span.presence-text", null, texts[where], seen && [" · ", phrase(texts.lastSeen, { time: moment(seen) })], where === "connected" && path && [" · ", path]),
  );
}

/** Beside someone whose key was compared. */
export const comparedMark = (person) =>
  person.verified && h("span.mark", { title: texts.compared }, sign("check"), h("span.unseen", null, texts.compared));

export const countdown = (until) =>
  h("span.countdown", { until: String(until), role: "timer" });

export const badge = (count) =>
  count > 0 &&
  h("span.badge", null,
    h("span", { "aria-hidden": "true" }, number(count)),
    h("span.unseen", null, texts.waitingCount(count)),
  );

export const wishText = (wish) => wish && h("p.wish", { dir: "auto" }, phrase(texts.quoted, { text: wish }));

/** A quote, set as one. The line below it takes its direction from the author's name, so that is no <bdi>. */
export function quotation(quote) {
  const author = h("span.apart", null, quote.author || texts.unknownAuthor);
  return h("figure.quote", null,
    h("blockquote", { dir: "auto" }, quote.text, quote.cut && " …"),
    h("figcaption", { dir: "auto" },
      "— ",
      quote.source ? phrase(texts.quoteFrom, { author, source: h("cite.apart", null, quote.source) }) : author,
    ),
  );
}

/** One of the two halves of what I offer, chosen with buttons. */
export const shelves = (state, act) =>
  h("div.shelves", { role: "group", "aria-label": texts.offer },
    ["quote", "image"].map((kind) =>
      h(
        "button.shelf",
        { key: kind, type: "button", "aria-pressed": String(state.shelf === kind), onclick: () => act.showShelf(kind) },
        kind === "quote" ? texts.quotes : texts.pictures,
        h("span.count", null, number(itemsOf(state, kind).length)),
      ),
    ),
  );

export const itemsOf = (state, kind) => state.library.filter((item) => item.kind === kind);

/** What a picture is called in a sentence or an alternative text. */
export const pictureName = (item) => item.name || texts.picture;

/** Whose picture it is: of an ask, the one who was asked gives it; of an offer, the one who made it. */
export function pictureTitle({ peer, verb, direction }) {
  const mine = (verb === "ask") === (direction === "in");
  return phrase(mine ? texts.pictureTo : texts.pictureFrom, { name: peer });
}

export const imageFacts = ({ format, width, height, bytes }) =>
  phrase(texts.imageFacts, { format, width: number(width), height: number(height), size: size(bytes) });

/** The way from a name to the first picture, in three steps. */
export const steps = () => h("ol.steps", null, texts.steps.map((step) => h("li", null, h("span", null, step))));

/** A dialog that Escape, its cross, and a click beside it close. */
export const dialogBox = (look, title, act, ...content) =>
  h(
    "dialog",
    {
      key: look,
      class: look,
      "aria-labelledby": "dialog-title",
      onclose: act.closeDialog,
      onclick: (event) => event.target === event.currentTarget && event.target.close(),
    },
    h("div.dialog-inner", null,
      h("header", null,
        h("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, title),
        iconButton(texts.close, "close", act.closeDialog),
      ),
      content,
    ),
  );
