/* Owns "What I offer": my quotes and pictures, and how to add and remove them. */

import { h, isolated, plain, remember } from "./dom.js";
import { button, failure, iconButton, itemsOf, pictureName, quotation, shelves, sign } from "./parts.js";
import { form } from "./state.js";
import { texts } from "./language.js";

const shown = new WeakMap();

export function renderOffer(state, act) {
  return h(
    "section.offer",
    {
      "aria-labelledby": "offer-title",
      ondragover: markDrop,
      ondragleave: unmarkDrop,
      ondrop: (event) => {
        unmarkDrop(event);
        act.addImages([...event.dataTransfer.files]);
      },
    },
    h("h2", { id: "offer-title" }, texts.offer),
    h("p.hint", null, texts.offerHint),
    shelves(state, act),
    h("div.scroll", { key: state.shelf }, state.shelf === "quote" ? quotes(state, act) : pictures(state, act)),
    h("p.drop-sign", { "aria-hidden": "true" }, texts.dropNow),
  );
}

function markDrop({ currentTarget, dataTransfer }) {
  if (dataTransfer.types.includes("Files")) currentTarget.toggleAttribute("data-dropping", true);
}

function unmarkDrop({ type, currentTarget, relatedTarget }) {
  const within = type === "dragleave" && currentTarget.contains(relatedTarget);
  if (!within) currentTarget.toggleAttribute("data-dropping", false);
}

function quotes(state, act) {
  const items = itemsOf(state, "quote");
  return [
    addQuoteForm(state, act),
    items.length === 0 && h("p.empty", null, texts.noQuotesYet),
    h("ul.items", null, items.map((item) => shelfItem(state, act, item, () => quotation(item)))),
  ];
}

function addQuoteForm(state, act) {
  const submit = async (event) => {
    event.preventDefault();
    const { currentTarget } = event;
    const { text, author, source } = currentTarget.elements;
    const quote = { text: text.value.trim(), author: author.value.trim() };
    if (source.value.trim()) quote.source = source.value.trim();
    if (await act.addQuote(quote)) currentTarget.reset();
  };
  const field = (name, label, tag = "input", props = {}) =>
    h("label.field", { key: name }, h("span", null, label), h(tag, { name, dir: "auto", autocomplete: "off", ...props }));
  return h("details.add", { key: "add" },
    h("summary", null, sign("plus"), texts.addQuote),
    h("form", { onsubmit: submit },
      field("text", texts.quoteText, "textarea", { rows: "3", required: true }),
      field("author", texts.quoteAuthor, "input", { required: true }),
      field("source", texts.quoteSource),
      failure(state, "add_quote"),
      h("div.actions", null, button(texts.add, () => {}, { look: "primary", type: "submit", busy: form(state, "add_quote").busy })),
    ),
  );
}

function pictures(state, act) {
  const items = itemsOf(state, "image");
  return [
    addImages(act),
    uploads(state, act),
    items.length === 0 && h("p.empty", null, texts.noPicturesYet),
    h("ul.items.gallery", null, items.map((item) => shelfItem(state, act, item, () => thumbnail(item)))),
  ];
}

const addImages = (act) =>
  h("label.add.add-images", { key: "add" },
    h("input.unseen", {
      type: "file",
      multiple: true,
      accept: "image/jpeg,image/png,image/webp,image/gif",
      "aria-label": texts.addImages,
      onchange: (event) => {
        act.addImages([...event.target.files]);
        event.target.value = ""; // the same file may be chosen again
      },
    }),
    sign("plus"),
    h("span", null, texts.addImages, h("small", null, texts.dropHere)),
  );

const uploads = (state, act) =>
  state.uploads.length > 0 &&
  h("div.uploads", { key: "uploads" },
    h("div", { role: "status" }, h("ul", null, state.uploads.map(uploadRow))),
    state.uploads.some(({ status }) => status !== "busy") && button(texts.clearList, act.uploadsSeen, { look: "quiet" }),
  );

const uploadRow = ({ id, name, status, message }) =>
  h("li", { key: id, "data-status": status }, h("span.name", null, isolated(name)), h("span", { dir: "auto" }, message));

const thumbnail = (item) =>
  h("img", { src: item.url, alt: pictureName(item), title: pictureName(item), loading: "lazy", decoding: "async" });

/** One thing that I offer; to remove it takes a second word, in its place. */
function shelfItem(state, act, item, content) {
  const key = `item:${item.item}`;
  const doubted = state.removing === item.item;
  return remember(shown, item, [doubted, form(state, key)], () =>
    h("li.item", { key: item.item, "data-item": item.item },
      content(),
      doubted
        ? h("div.doubt", { role: "group", "aria-label": texts.removeQuestion },
            h("span", null, texts.removeQuestion),
            button(texts.remove, () => act.removeItem(item.item), { look: "small danger", busy: form(state, key).busy }),
            button(texts.keep, () => act.askRemoval(null), { look: "small" }),
          )
        : iconButton(removeLabel(item), "close", () => act.askRemoval(item.item), { class: "remove" }),
      failure(state, key),
    ),
  );
}

const removeLabel = (item) =>
  `${texts.remove}: ${plain("{what}", { what: item.kind === "quote" ? item.text.slice(0, 40) : pictureName(item) })}`;
