/* Owns what people see and decide of the rendezvous itself: who may find them, invitations, being forgotten,
   and what to do about a rendezvous that is not what it was. */

import { h, phrase } from "./dom.js";
import { button, dialogBox, failure } from "./parts.js";
import { form } from "./state.js";
import { texts } from "./language.js";

/** Below my key: who may find me, and the way out. */
export function membership(state, act) {
  const { busy } = form(state, "visibility");
  const { visibility = "listed" } = state.settings;
  return h("div.membership", null,
    h("label.field", null,
      h("span", null, texts.findable),
      h("select", { name: "visibility", onchange: (event) => act.setVisibility(event.target.value), "aria-disabled": busy && "true" },
        Object.entries(texts.visibility).map(([value, label]) =>
          h("option", { key: value, value, selected: value === visibility }, label),
        ),
      ),
    ),
    failure(state, "visibility"),
    h("div.actions", null,
      button(texts.inviteSomebody, act.showInvite),
      button(texts.forgetMe, () => act.openDialog({ kind: "forget" }), { look: "quiet" }),
    ),
  );
}

export const inviteDialog = (state, act) =>
  dialogBox(
    "inviting",
    texts.inviteSomebody,
    act,
    state.invite && [
      h("p.hint", null, texts.inviteHow),
      h("div.code", null,
        h("img.qr", { src: state.invite.qr, alt: texts.inviteQr, width: "164", height: "164" }),
        h("div.link", null,
          h("input", { readonly: true, value: state.invite.link, "aria-label": texts.inviteLink, dir: "ltr" }),
          button(state.copied ? texts.copied : texts.copy, () => act.copy(state.invite.link), { look: "primary" }),
        ),
      ),
    ],
    failure(state, "invite"),
  );

export const openDialog = (state, act) =>
  dialogBox("opening", texts.openInvite, act, invitation(state, act));

/** The field for a link; or, where it leads elsewhere, the question whether to go there. */
export function invitation(state, act) {
  const { busy } = form(state, "open_invite");
  const { move } = state;
  const submit = (event) => {
    event.preventDefault();
    if (!busy) act.openInvite(event.target.elements.namedItem("link").value);
  };
  if (move) {
    return h("div.moving", { key: "move", role: "alert" },
      h("p", null, phrase(texts.moveQuestion, move)),
      h("div.actions", null,
        button(texts.move, () => act.openInvite(move.link, true), { look: "primary", busy }),
        button(texts.stay, act.closeDialog),
      ),
      failure(state, "open_invite"),
    );
  }
  return h("form.open-invite", { key: "open", onsubmit: submit },
    h("label.field", null,
      h("span", null, texts.inviteLink),
      h("input", { name: "link", required: true, autocomplete: "off", spellcheck: "false", dir: "ltr", placeholder: "http://…/invite#…" }),
    ),
    h("p.hint", null, texts.openHow),
    failure(state, "open_invite"),
    button(texts.open, () => {}, { look: "primary", type: "submit", busy }),
  );
}

export function forgetDialog(state, act) {
  const { busy } = form(state, "forget");
  return dialogBox(
    "forgetting",
    texts.forgetMe,
    act,
    h("p", null, phrase(texts.forgetMeans, { name: state.me.name ?? "" })),
    failure(state, "forget"),
    h("div.actions", null,
      button(texts.forgetGo, act.forgetMe, { look: "danger", busy }),
      button(texts.cancel, act.closeDialog),
    ),
  );
}

/** A rendezvous that has another key, or has contradicted itself: what was found, and the decision. */
export function distrust(state, act) {
  const { changed, evidence = [], fingerprint } = state.reachability;
  if (!changed && !evidence.length) return null;
  const { busy } = form(state, "trust");
  return h("section.distrust", { key: "distrust", role: "alert" },
    h("h2", null, changed ? texts.serverChanged : texts.serverLied),
    h("p", null, changed ? texts.serverChangedMeans : texts.serverLiedMeans),
    changed && keys([[texts.serverBefore, changed.fingerprint], [texts.serverNow, changed.new_fingerprint]]),
    evidence.map(({ name, source, fingerprints }) =>
      h("details", { key: fingerprints.join() },
        h("summary", null, phrase(source ? texts.liedTo : texts.lied, { name, source })),
        keys(fingerprints.map((one, index) => [texts.statement(index + 1), one])),
      ),
    ),
    h("div.actions", null, button(texts.goOn, () => act.trustRendezvous((changed ?? { new_fingerprint: fingerprint }).new_fingerprint), { busy })),
    failure(state, "trust"),
  );
}

const keys = (rows) =>
  h("dl", null, rows.map(([term, value]) => [h("dt", { key: term }, term), h("dd", { key: term }, h("code", null, value))]));
