/* Owns the page as a whole: render(state) puts header, regions, dialog and notices in their places,
   keeps the focus sensible, and says new requests aloud. */

import { alertTo, markIcon } from "./alerts.js";
import { tick } from "./clock.js";
import { h, isolated, keepingFocus, patch, phrase, plain } from "./dom.js";
import { shortFingerprint } from "./format.js";
import { lazily } from "./lazy.js";
import { looks } from "./looks.js";
import { avatar, button, failure, iconButton, steps } from "./parts.js";
import { keyFigure } from "./render_keys.js";
import { renderOffer } from "./render_offer.js";
import { renderPeople } from "./render_people.js";
import { distrust, invitation, membership } from "./render_rendezvous.js";
import { renderRequests } from "./render_requests.js";
import { renderTalk } from "./render_talk.js";
import { myNetwork } from "./render_way.js";
import { form, toAnswer } from "./state.js";
import { said, texts } from "./language.js";

const dialogs = lazily(() => import("./render_dialog.js"));

export function render(state, act) {
  const page = document.getElementById("page");
  const wasAnswering = document.activeElement?.closest(".requests");
  if (!state.dialog) page.querySelector("dialog")?.close(); // gives the focus back to who opened it
  keepingFocus(() => patch(page, whole(state, act)));
  if (wasAnswering && document.activeElement === document.body) document.getElementById("requests-title")?.focus();
  const dialog = page.querySelector("dialog:not([open])");
  if (dialog) dialog.showModal();
  tick(page);
  announce(state);
}

function whole(state, act) {
  const inside = state.loaded && state.me.signed_up;
  return [
    h("div.frame-all", { key: "all", "data-view": inside ? state.view : "start" }, [
      header(state, act),
      banner(state),
      state.loaded && distrust(state, act),
      inside && navigation(state),
      inside &&
        h("main.columns", { key: "in" }, [
          renderPeople(state, act),
          renderTalk(state, act),
          renderRequests(state, act),
          renderOffer(state, act),
        ]),
      !inside && h("main.start", { key: "start" }, start(state, act)),
    ]),
    state.dialog && dialogs()?.renderDialog(state, act),
    notices(state, act),
  ].filter(Boolean);
}

function header(state, act) {
  const { me, reachability } = state;
  const reach = state.link === "up" ? reachability.rendezvous : "gone";
  return h("header.top", null,
    h("h1.brand", null, h("img", { src: "/static/icon.svg", alt: "", width: "28", height: "28" }), texts.app),
    state.loaded &&
      h("span.reach", { "data-reach": reach, title: said(reachability.message) },
        h("span.dot", { "aria-hidden": "true" }),
        h("span.reach-text", null, texts.reach[reach]),
      ),
    me.name && whoAmI(state, act),
  );
}

function whoAmI(state, act) {
  const { me, settings, reachability } = state;
  const line = (term, value) => value && [h("dt", { key: term }, term), h("dd", { key: term, dir: "auto" }, value)];
  return h("details.me", null,
    h("summary", null,
      h("span.unseen", null, texts.whoAmI, ": "),
      avatar(me.name, me.fingerprint),
      h("span.person-text", null, h("span.name", null, isolated(me.name)), h("code", null, shortFingerprint(me.fingerprint))),
    ),
    h("div.popover", { tabindex: "0", role: "group", "aria-label": texts.whoAmI },
      h("h2", null, isolated(me.name)),
      keyFigure(texts.myKey, me),
      h("div.code", null,
        h("img.qr", { src: me.qr, alt: texts.qr, width: "148", height: "148", loading: "lazy" }),
        h("p.hint", null, texts.myKeyHint),
      ),
      h("dl", null,
        line(texts.fingerprint, h("code", null, me.fingerprint)),
        line(texts.rendezvous, settings.rendezvous),
        line(texts.peerPort, reachability.peer_port ?? settings.peer_port),
        line(texts.dataFolder, settings.data),
        myNetwork(reachability),
      ),
      looks(),
      membership(state, act),
    ),
  );
}

/** One sentence when something stands in the way; an empty region otherwise, so that it is read aloud. */
function banner({ link, loaded, reachability }) {
  let sentence = "";
  if (link === "locked") sentence = texts.locked;
  else if (link === "down") sentence = texts.agentGone;
  else if (loaded && reachability.rendezvous !== "up") sentence = said(reachability.message);
  return h("p.banner", { role: "status", dir: "auto" }, sentence);
}

function navigation(state) {
  const item = (view, label, here) =>
    h("a", { key: view, href: `#${view}`, "aria-current": here && "page" }, label);
  return h("nav.places", { "aria-label": texts.app }, [
    item("people", texts.people, state.view !== "offer"),
    item("offer", texts.offer, state.view === "offer"),
  ]);
}

/** Before somebody has a name: why, how, and the form. */
function start(state, act) {
  if (!state.loaded) return h("p.hint", { role: "status" }, state.link === "connecting" ? texts.starting : "");
  const { busy } = form(state, "sign_up");
  const submit = (event) => {
    event.preventDefault();
    const { name, code } = event.target.elements;
    if (!busy) act.signUp(name.value.trim(), code?.value.trim());
  };
  return [
    h("h2", null, texts.welcome),
    h("form.sign-up", { onsubmit: submit },
      h("p", { id: "sign-up-how" }, texts.signUpHow),
      h("label.field", null,
        h("span", null, texts.signUpName),
        h("input", {
          name: "name",
          required: true,
          initial: state.me.name ?? "",
          autocomplete: "nickname",
          autofocus: true,
          spellcheck: "false",
          dir: "auto",
          "aria-describedby": "sign-up-how",
        }),
      ),
      state.reachability.code_required &&
        h("label.field", { key: "code" },
          h("span", null, texts.signUpCode),
          h("input", { name: "code", required: true, autocomplete: "off", spellcheck: "false" }),
        ),
      button(texts.signUpGo, () => {}, { look: "primary", type: "submit", busy }),
      failure(state, "sign_up"),
      h("p.hint", null, phrase(texts.signUpAt, { url: state.settings.rendezvous ?? "" })),
    ),
    h("details.invited", { key: "invited" }, h("summary", null, texts.haveInvite), invitation(state, act)),
    h("section.how", { "aria-labelledby": "how-title" }, [
      h("h3", { id: "how-title" }, texts.stepsTitle),
      steps(),
    ]),
  ];
}

const notices = (state, act) =>
  h("div.notices", { key: "notices", role: "log", "aria-live": "polite" },
    state.notices.map(({ id, level, message }) =>
      h("div.notice", { key: id, "data-level": level },
        h("span", { dir: "auto" }, said(message)),
        iconButton(texts.close, "close", () => act.noticeSeen(id)),
      ),
    ),
  );

const announced = new Set();

/** Say each new request once to those who hear the page; it outlives the re-render that shows it. */
function announce(state) {
  const waiting = toAnswer(state);
  markIcon(waiting.length);
  const fresh = waiting.filter(({ request }) => !announced.has(request));
  if (fresh.length === 0) return;
  for (const { request } of fresh) announced.add(request);
  const sentences = fresh.map(({ kind, verb, peer }) => plain(texts.asks[kind][verb], { name: peer }));
  document.getElementById("news").textContent = sentences.join(". ");
  alertTo(fresh);
}
