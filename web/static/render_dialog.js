/* Owns what opens above the page: which dialog it is; choosing what to offer, comparing keys, a picture seen large. */

import { h, phrase } from "./dom.js";
import { button, dialogBox, failure, imageFacts, itemsOf, pictureName, pictureTitle, quotation, shelves } from "./parts.js";
import { saveLink } from "./render_entry.js";
import { comparison } from "./render_keys.js";
import { forgetDialog, inviteDialog, openDialog } from "./render_rendezvous.js";
import { doctorDialog } from "./render_way.js";
import { form, personNamed } from "./state.js";
import { texts } from "./language.js";

export function renderDialog(state, act) {
  const { dialog } = state;
  const request = dialog?.kind === "picture" && state.requests[dialog.request];
  if (dialog?.kind === "offer") return offerDialog(state, act, dialog.peer);
  if (dialog?.kind === "keys") return keysDialog(state, act, personNamed(state, dialog.peer));
  if (dialog?.kind === "doctor") return doctorDialog(state, act, dialog.peer);
  if (dialog?.kind === "invite") return inviteDialog(state, act);
  if (dialog?.kind === "open") return openDialog(state, act);
  if (dialog?.kind === "forget") return forgetDialog(state, act);
  return request ? pictureDialog(act, request) : null;
}

function offerDialog(state, act, peer) {
  const items = itemsOf(state, state.shelf);
  const { busy } = form(state, "offer");
  const submit = (event) => {
    event.preventDefault();
    const chosen = new FormData(event.target).get("choice");
    const item = state.library.find((one) => one.item === chosen);
    if (!item) act.fail("offer", texts.chooseFirst);
    else if (!busy) act.offer(peer, item);
  };
  return dialogBox(
    "offering",
    phrase(texts.offerTo, { name: peer }),
    act,
    h("p.hint", null, phrase(texts.offerToHint, { name: peer })),
    shelves(state, act),
    h("form", { onsubmit: submit },
      h("div.scroll", { key: state.shelf },
        items.length === 0 && h("p.empty", null, texts.offerEmpty),
        h("ul.items", { class: state.shelf === "image" && "gallery" }, items.map(choice)),
      ),
      failure(state, "offer"),
      h("div.actions", null,
        button(texts.offerGo, () => {}, { look: "primary", type: "submit", busy, disabled: items.length === 0 }),
        button(texts.cancel, act.closeDialog),
      ),
    ),
  );
}

const choice = (item) =>
  h("li", { key: item.item },
    h("label.item.choice", { "data-item": item.item },
      h("input.unseen", { type: "radio", name: "choice", value: item.item }),
      item.kind === "quote" ? quotation(item) : h("img", { src: item.url, alt: pictureName(item), loading: "lazy", decoding: "async" }),
    ),
  );

const keysDialog = (state, act, person) =>
  dialogBox("comparing", phrase(texts.compareWith, { name: person.name }), act, comparison(state, act, person));

function pictureDialog(act, request) {
  const { image } = request;
  return dialogBox(
    "viewer",
    pictureTitle(request),
    act,
    h("img.large", { src: image.url, alt: "", width: image.width, height: image.height }),
    h("footer", null, h("span", null, imageFacts(image)), saveLink(request)),
  );
}
