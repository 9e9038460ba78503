/* Owns what people see of keys: one as words and digits, two side by side to compare, and one that has changed. */

import { h, phrase } from "./dom.js";
import { button, failure, sign } from "./parts.js";
import { form } from "./state.js";
import { texts } from "./language.js";

const inFours = (text) => text.split(" ").map((part) => [h("span", null, part), " "]);

/** A key as words and digits. The words are the same in every language: they are what people compare. */
export const keyFigure = (title, { words, digits }) =>
  h("figure.key", null,
    h("figcaption", null, title),
    h("p.words", { lang: "en", dir: "ltr" }, inFours(words)),
    h("p.digits", { dir: "ltr" }, inFours(digits)),
  );

/** Theirs and mine: each of the two people reads out one and listens to the other. */
export function comparison(state, act, person) {
  const { busy } = form(state, "keys");
  const pinned = state.contacts.some(({ name }) => name === person.name);
  const name = { name: person.name };
  return [
    h("p.hint", null, phrase(texts.compareHow, name)),
    h("div.keys.scroll", { tabindex: "0", role: "group", "aria-labelledby": "dialog-title" },
      keyFigure(phrase(texts.keyOf, name), person),
      keyFigure(texts.myKey, state.me),
    ),
    person.verified && h("p.good", { role: "status" }, sign("check"), h("span", null, phrase(texts.isCompared, name))),
    pinned
      ? h("div.actions", null,
          button(person.verified ? texts.unmark : texts.mark, () => act.setVerified(person.name, !person.verified), {
            look: person.verified ? "" : "primary",
            busy,
          }),
          button(texts.close, act.closeDialog),
        )
      : h("p.hint", null, texts.markLater),
    failure(state, "keys"),
  ];
}

/** In place of what could be asked: why nothing can, and the decision that is due, or was made. */
export function changedKey(state, act, person) {
  const { name, fingerprint, words, digits, key_kept: kept, new_fingerprint, new_words, new_digits } = person;
  const { busy } = form(state, `key:${name}`);
  const content = [
    h("p", null, phrase(texts.keyChangedMeans, { name })),
    h("div.keys", null,
      keyFigure(texts.keyBefore, { words, digits }),
      keyFigure(texts.keyNow, { words: new_words, digits: new_digits }),
    ),
    h("p.hint", { id: "trust-means" }, phrase(texts.trustMeans, { name })),
    h("div.actions", null,
      !kept && button(texts.keepKey, () => act.trustKey(name, fingerprint), { look: "primary", busy, key: "keep" }),
      button(texts.trustKey, () => act.trustKey(name, new_fingerprint), { busy, key: "trust", "aria-describedby": "trust-means" }),
    ),
    failure(state, `key:${name}`),
  ];
  return kept
    ? h("details.changed", { key: "kept" }, h("summary", null, phrase(texts.keyKept, { name }), " ", h("span", null, texts.showKeys)), content)
    : h("section.changed", { key: "changed", "aria-labelledby": "changed-title" }, [
        h("div", { role: "alert" }, h("h3", { id: "changed-title" }, phrase(texts.keyChanged, { name }))),
        content,
      ]);
}
