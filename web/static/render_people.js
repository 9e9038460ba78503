/* Owns the column of people: mine first, then everybody at the rendezvous, with search. */

import { h, isolated, phrase } from "./dom.js";
import { avatar, badge, button, comparedMark, presence } from "./parts.js";
import { pathWords } from "./render_way.js";
import { contactsShown, matches, othersShown, toAnswer } from "./state.js";
import { texts } from "./language.js";

export function renderPeople(state, act) {
  const waiting = new Map();
  for (const { peer } of toAnswer(state)) waiting.set(peer, (waiting.get(peer) ?? 0) + 1);
  const row = (person) => personRow(person, person.name === state.peer, waiting.get(person.name) ?? 0);
  const contacts = contactsShown(state);
  const others = othersShown(state).filter((person) => matches(person, state.list.query));

  return h("section.people", { "aria-labelledby": "people-title" },
    h("h2", { id: "people-title" }, texts.people),
    h("input.search", {
      type: "search",
      placeholder: texts.searchPeople,
      "aria-label": texts.searchPeople,
      autocomplete: "off",
      spellcheck: "false",
      oninput: (event) => act.search(event.target.value),
    }),
    h("div.invite-row", null,
      button(texts.inviteSomebody, act.showInvite, { look: "quiet" }),
      button(texts.openInvite, () => act.openDialog({ kind: "open" }), { look: "quiet" }),
    ),
    h("div.scroll", null,
      contacts.length > 0 && [h("h3", { key: "mine" }, texts.contacts), h("ul.rows", { key: "mine" }, contacts.map(row))],
      others.length > 0 && [h("h3", { key: "all" }, texts.everybody), h("ul.rows", { key: "all" }, others.map(row))],
      state.list.next && button(texts.more, act.morePeople, { look: "quiet", key: "more" }),
      state.list.failed && listFailed(state, act),
      !contacts.length && !others.length && !state.list.failed && nobody(state),
    ),
  );
}

const personRow = (person, open, waiting) =>
  h("li", { key: person.name },
    h(
      "a.person",
      {
        href: `#with/${encodeURIComponent(person.name)}`,
        "aria-current": open && "true",
        "data-person": person.name,
        title: person.name,
      },
      avatar(person.name, person.fingerprint),
      h("span.person-text", null, h("span.name", null, isolated(person.name)), presence(person, pathWords(person.path))),
      comparedMark(person),
      badge(waiting),
    ),
  );

const listFailed = (state, act) =>
  h("div.empty", { key: "failed" }, h("p", null, state.list.failed), button(texts.retry, act.listPeople));

function nobody(state) {
  if (!state.list.loaded) return null;
  if (state.list.query.trim()) return h("div.empty", { key: "nobody" }, h("p", null, texts.noMatch));
  return h("div.empty", { key: "nobody" },
    h("p", null, texts.nobody),
    h("p", null, phrase(texts.nobodyHint, { url: state.settings.rendezvous ?? "" })),
  );
}
