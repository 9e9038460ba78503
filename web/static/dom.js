/* Owns how a description becomes elements: h() describes, patch() changes only what differs.
   Elements keep their identity by key, so focus, scroll position and typed text survive.
   Knows no state and no words of ours. Text enters as text nodes and attributes alone. */

const drawn = new WeakMap(); // node -> the description it shows
const kept = new WeakMap(); // parent -> Map(key -> child node)

/** Describe an element: h("p.note", {props}, ...children). null, false and "" children vanish.
 *  Props are attributes, but for: `key`; `on…` (a handler); `style` (an object);
 *  `initial` (an input's first value, never set again); `until` (the clock writes the text). */
export function h(selector, props, ...children) {
  const [tag, ...classes] = selector.split(".");
  const { key, ...rest } = props ?? {};
  const name = [...classes, rest.class].filter(Boolean).join(" ");
  if (name) rest.class = name;
  const list = children.flat(Infinity).filter((child) => child || child === 0);
  return { tag, key, props: rest, children: list.map(textOrElement) };
}

function textOrElement(child) {
  return typeof child === "object" ? child : { tag: "#text", text: String(child) };
}

/** A name or other foreign text inside a sentence: it cannot turn the sentence's direction. */
export const isolated = (value) => h("bdi", null, value);

/** Put values into a sentence: phrase("{name} declined", {name}) gives children, names isolated. */
export function phrase(sentence, values) {
  return sentence.split(/\{(\w+)\}/).map((part, index) => {
    if (index % 2 === 0) return part;
    const value = values[part];
    return typeof value === "object" ? value : isolated(String(value));
  });
}

/** The same as plain text, for titles and labels: U+2068 and U+2069 isolate each value. */
export function plain(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => `\u2068${values[name]}\u2069`);
}

/** Keep make()'s description as long as `parts` are the same: patch() then skips all of it. */
export function remember(cache, owner, parts, make) {
  const known = cache.get(owner);
  if (known && known.parts.every((part, index) => part === parts[index])) return known.made;
  const made = make();
  cache.set(owner, { parts, made });
  return made;
}

/** Make the children of `parent` what `descriptions` say. */
export function patch(parent, descriptions) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map();
  const counts = {};
  for (const description of descriptions) {
    const { tag } = description;
    const key = `${tag} ${description.key ?? `#${(counts[tag] = (counts[tag] ?? 0) + 1)}`}`;
    const node = before.get(key) ?? create(tag);
    after.set(key, node);
    update(node, description);
  }
  for (const [key, node] of before) if (!after.has(key)) node.remove();
  let place = parent.firstChild;
  for (const node of after.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  kept.set(parent, after);
}

/** Run `change`, and give the focus back where moving an element took it away. */
export function keepingFocus(change) {
  const focused = document.activeElement;
  change();
  if (focused && focused !== document.activeElement && focused.isConnected) {
    focused.focus({ preventScroll: true });
  }
}

function create(tag) {
  return tag === "#text" ? document.createTextNode("") : document.createElement(tag);
}

function update(node, description) {
  const old = drawn.get(node);
  if (old === description) return;
  drawn.set(node, description);
  if (description.tag === "#text") {
    if (node.data !== description.text) node.data = description.text;
    return;
  }
  const { props } = description;
  for (const name of Object.keys(old?.props ?? {})) if (!(name in props)) set(node, name, null);
  for (const [name, value] of Object.entries(props)) {
    if (name === "initial") {
      if (!old) node.value = value;
    } else if (!old || old.props[name] !== value) set(node, name, value);
  }
  if (!("until" in props)) patch(node, description.children);
}

function set(node, name, value) {
  if (name.startsWith("on")) node[name] = value && ((event) => void value(event)); // false would prevent the default
  else if (name === "style") for (const [rule, v] of Object.entries(value ?? {})) node.style.setProperty(rule, v);
  else if (name === "until") node.dataset.until = value;
  else if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : value);
}
