/* Owns one entry of a conversation: a request, how it stands, and what came of it. */

import { h, phrase } from "./dom.js";
import { duration, iso, moment, number, percent, size } from "./format.js";
import { button, countdown, failure, imageFacts, pictureTitle, quotation, wishText } from "./parts.js";
import { FINAL, form } from "./state.js";
import { said, texts } from "./language.js";

const AWAITED = new Set(["accepted", "transferring"]); // a picture is on its way: its place is kept
const LOOK_AGAIN = 2000; // milliseconds, where what has arrived cannot be shown yet

export function renderEntry(state, act, request) {
  const { request: id, kind, verb, direction, phase, peer } = request;
  const did = texts.did[kind][verb][direction];
  return h(
    `li.entry.${direction}`,
    { key: id, class: `of-${kind}`, "data-request": id, "data-kind": kind, "data-phase": phase },
    h("p.entry-head", null,
      h("span", null, phrase(did, { name: peer })),
      h("time", { datetime: iso(request.created_at) }, moment(request.created_at)),
    ),
    wishText(request.wish),
    request.quote && quotation(request.quote),
    request.quote && request.via && h("p.hint.via", null, texts.via[request.via] ?? request.via),
    request.image && picture(act, request),
    standing(state, act, request),
    failure(state, `request:${id}`),
  );
}

/** How it stands, in words; with Cancel while there is something to cancel. */
function standing(state, act, request) {
  const { phase, kind, direction, peer } = request;
  if (phase === "transferring" && request.progress) return progress(state, act, request);
  if (phase === "done" && kind !== "connection") return null; // what it brought is there to see
  const words = texts.phase[phase];
  const mayCancel = !FINAL.has(phase) && !(phase === "waiting" && direction === "in");
  return h("p.standing", null,
    h("span", null,
      phrase(words[direction] ?? words, { name: peer }),
      phase === "waiting" && [" · ", countdown(request.expires_at)],
    ),
    mayCancel && cancelButton(state, act, request),
    request.reason && h("span.reason", { dir: "auto" }, said(request.reason)),
  );
}

const cancelButton = (state, act, { request }) =>
  button(texts.cancel, () => act.cancel(request), { look: "small", busy: form(state, `request:${request}`).busy });

/** The picture, or the place that it will take: the same size before and after, so nothing jumps. */
function picture(act, request) {
  const { image } = request;
  const style = { "--ratio": String(image.width / image.height) };
  return h("figure.picture", null,
    image.url
      ? h(
          "button.frame",
          { key: "shown", type: "button", style, onclick: () => act.openDialog({ kind: "picture", request: request.request }) },
          h("img", { src: image.url, alt: "", decoding: "async", width: image.width, height: image.height }),
          h("span.unseen", null, texts.openLarge, ": ", pictureTitle(request)),
        )
      : AWAITED.has(request.phase) && h("div.frame.frame-empty", { key: "awaited", style }, growing(request)),
    h("figcaption", null,
      h("span", null, imageFacts(image)),
      image.url && saveLink(request),
    ),
  );
}

/** What can be seen already: the tiny preview, and over it as much as has arrived and is verified. */
function growing({ request, image, verb, direction, phase }) {
  const receives = (verb === "ask") === (direction === "out");
  const again = ({ target }) => {
    target.style.visibility = "hidden"; // no broken picture over the preview
    setTimeout(() => {
      if (!target.isConnected) return;
      target.style.visibility = "";
      target.src = `/media/partial/${request}`;
    }, LOOK_AGAIN);
  };
  return [
    image.preview && h("img.preview", { key: "preview", src: image.preview, alt: "" }),
    receives && phase === "transferring" && h("img", { key: "growing", src: `/media/partial/${request}`, alt: "", onerror: again }),
  ];
}

/** A link that saves the picture under a name of ours. */
export const saveLink = ({ peer, image }) =>
  h("a.save", { href: image.url, download: fileName(peer, image) }, texts.save);

const EXTENSIONS = { JPEG: "jpg", PNG: "png", WEBP: "webp", GIF: "gif" };

/** A name for the saved file: letters and digits of the person's name, and the start of the hash. */
function fileName(peer, image) {
  const who = peer.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40);
  return `${who}-${image.sha256.slice(0, 8)}.${EXTENSIONS[image.format] ?? "img"}`;
}

function progress(state, act, request) {
  const { bytes, total, rate, rtt, loss, path } = request.progress;
  const fact = (key, ...parts) => h("span", { key }, ...parts);
  return h("div.progress", null,
    h("div.progress-line", null,
      h("progress", { max: total, value: bytes, "aria-label": texts.progressLabel }),
      h("span.share", null, percent(Math.floor((100 * bytes) / total) / 100)),
      cancelButton(state, act, request),
    ),
    h("p.facts", null,
      fact("of", phrase(texts.progressOf, { done: size(bytes), total: size(total) })),
      rate > 0 && fact("rate", phrase(texts.perSecond, { size: size(rate) })),
      rate > 0 && fact("left", phrase(texts.remaining, { time: duration((total - bytes) / rate) })),
      rtt !== undefined && fact("rtt", phrase(texts.roundTrip, { ms: number(Math.round(rtt * 10) / 10) })),
      loss !== undefined && fact("loss", phrase(texts.loss, { percent: percent(loss) })),
      path && h("span.path", { key: "path" }, texts.path[path] ?? path),
    ),
  );
}
