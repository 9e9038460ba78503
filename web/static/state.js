/* Owns what the page knows: state = apply(state, event). Pure: no DOM, no network, no clock.
   An event is [name, value]: the agent's news (events.js) or what the person did on this page. */

export const FINAL = new Set(["done", "rejected", "expired", "cancelled", "unreachable", "failed"]);
const NOTICES_KEPT = 4;

export const initial = Object.freeze({
  link: "connecting", // up, connecting, down (the agent does not answer), locked (it does not let us in)
  loaded: false,
  me: { name: null, fingerprint: "", signed_up: false },
  contacts: [], // people of mine, as the agent sends them
  listed: [], // everybody at the rendezvous, as far as asked for
  list: { query: "", next: null, loaded: false, failed: "" },
  requests: {}, // id -> request, of every conversation seen so far
  timelines: {}, // peer -> {next}: what is loaded of each conversation
  library: [],
  settings: {},
  reachability: { rendezvous: "connecting", message: "", peer_port: null },
  view: "people", // what a narrow screen shows: people, talk, offer
  peer: null, // whose conversation is open
  dialog: null, // {kind: "offer", peer}, {kind: "picture", request}, {kind: "keys", peer} …
  invite: null, // {link, qr}: how others find me
  copied: false,
  doctor: null, // {peer, …}: what the agent has found out about the way to somebody
  move: null, // {from, to, name, link}: an invitation that leads to another rendezvous
  shelf: "quote", // which half of what I offer is open
  removing: null, // the item whose removal waits for a second word
  forms: {}, // key -> {busy, error}: calls under way, and what came of them, in place
  uploads: [], // {id, name, status: "busy" | "added" | "refused", message}
  notices: [], // {id, level, message}
});

export function apply(state, [name, value]) {
  const step = steps[name];
  return step ? step(state, value) : state;
}

const steps = {
  // news of the agent
  state: (state, value) => ({
    ...state,
    loaded: true,
    me: value.me,
    contacts: value.people,
    listed: merged(state.listed, value.people, () => false),
    requests: refreshed(state.requests, value.requests),
    library: value.library,
    settings: value.settings,
    reachability: value.reachability,
  }),
  people: (state, changed) => ({
    ...state,
    contacts: merged(state.contacts, changed, (person) => person.connected),
    listed: merged(state.listed, changed, (person) => matches(person, state.list.query)),
  }),
  request: (state, request) => withRequests(state, [request]),
  quote: (state, { request, peer: _, ...quote }) => patched(state, request, { quote }),
  image: (state, { request, peer: _, ...image }) => patched(state, request, { image }),
  image_progress: (state, { request, ...progress }) => patched(state, request, { progress }),
  notice: (state, notice) => ({
    ...state,
    notices: [...state.notices.filter((old) => old.message !== notice.message), notice].slice(-NOTICES_KEPT),
  }),

  // what happened on this page
  link: (state, link) => ({ ...state, link }),
  route: (state, { view, peer }) => ({ ...state, view, peer: peer === undefined ? state.peer : peer }),
  search: (state, query) => ({ ...state, list: { ...state.list, query } }),
  listed: (state, { query, more, people, next }) => {
    if (query !== state.list.query) return state; // an answer to what is no longer asked
    const list = { query, next: next ?? null, loaded: true, failed: "" };
    return { ...state, list, listed: more ? merged(state.listed, people, () => true) : people };
  },
  list_failed: (state, failed) => ({ ...state, list: { ...state.list, failed } }),
  met: (state, people) => ({ ...state, listed: merged(state.listed, people, () => true) }),
  timeline: (state, { peer, entries, next, older }) => {
    const known = state.timelines[peer];
    const timeline = { next: older || !known ? (next ?? null) : known.next };
    return withRequests({ ...state, timelines: { ...state.timelines, [peer]: timeline } }, entries);
  },
  dialog: (state, dialog) => ({ ...state, dialog, move: null, copied: false }),
  invite: (state, { link, qr }) => ({ ...state, invite: { link, qr: `${qr}?${link.length}` } }),
  doctor: (state, doctor) => ({ ...state, doctor }),
  copied: (state, copied) => ({ ...state, copied }),
  move: (state, move) => ({ ...state, move }),
  shelf: (state, shelf) => ({ ...state, shelf, removing: null }),
  removing: (state, item) => ({ ...state, removing: item }),
  form: (state, { key, ...form }) => ({ ...state, forms: { ...state.forms, [key]: form } }),
  upload: (state, upload) => ({
    ...state,
    uploads: state.uploads.some((old) => old.id === upload.id)
      ? state.uploads.map((old) => (old.id === upload.id ? { ...old, ...upload } : old))
      : [...state.uploads, upload],
  }),
  uploads_seen: (state) => ({ ...state, uploads: state.uploads.filter((upload) => upload.status === "busy") }),
  notice_seen: (state, id) => ({ ...state, notices: state.notices.filter((notice) => notice.id !== id) }),
};

/** People with the changed ones in place, and those who are new where `joins` says so. */
function merged(people, changed, joins) {
  const news = new Map(changed.map((person) => [person.name, person]));
  const old = people.map((person) => ({ ...person, ...news.get(person.name) }));
  const known = new Set(people.map((person) => person.name));
  return [...old, ...changed.filter((person) => !known.has(person.name) && joins(person))];
}

export const matches = (person, query) =>
  person.name.toLocaleLowerCase().includes(query.trim().toLocaleLowerCase());

/** One request with its news; a text that is known whole is not replaced by its beginning. */
function joined(old, request) {
  const next = { ...old, ...request };
  if (old?.quote && !old.quote.cut && request.quote?.cut) next.quote = old.quote;
  return next;
}

function withRequests(state, entries) {
  const requests = { ...state.requests };
  for (const entry of entries) requests[entry.request] = joined(requests[entry.request], entry);
  return { ...state, requests };
}

function patched(state, id, change) {
  const request = state.requests[id];
  return request ? { ...state, requests: { ...state.requests, [id]: joined(request, change) } } : state;
}

/** `state` holds every open request: one that we thought open and that is not in it is gone. */
function refreshed(requests, entries) {
  const next = Object.fromEntries(Object.entries(requests).filter(([, request]) => FINAL.has(request.phase)));
  for (const entry of entries) next[entry.request] = joined(requests[entry.request], entry);
  return next;
}

// What the page asks of the state.

/** Requests that wait for my answer, those that expire first in front. */
export const toAnswer = (state) =>
  Object.values(state.requests)
    .filter((request) => request.direction === "in" && request.phase === "waiting")
    .sort((a, b) => a.expires_at - b.expires_at || (a.request < b.request ? -1 : 1));

/** One conversation, oldest first. */
export const timelineOf = (state, peer) =>
  Object.values(state.requests)
    .filter((request) => request.peer === peer)
    .sort((a, b) => a.created_at - b.created_at || (a.request < b.request ? -1 : 1));

export const openConnection = (state, peer) =>
  timelineOf(state, peer).find((request) => request.kind === "connection" && request.phase === "waiting");

const rank = (person) => (!person.online ? 2 : person.connected ? 0 : 1);
const byPresence = (a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name);

/** Those of my people whom the search lets through: connected first, then online, then by name. */
export const contactsShown = (state) =>
  state.contacts.filter((person) => matches(person, state.list.query)).sort(byPresence);

/** Everybody else at the rendezvous, in the same order. */
export function othersShown(state) {
  const mine = new Set([state.me.name, ...state.contacts.map((person) => person.name)]);
  return state.listed.filter((person) => !mine.has(person.name)).sort(byPresence);
}

/** What is known of one person, or undefined. */
export const personNamed = (state, name) =>
  state.contacts.find((person) => person.name === name) ??
  state.listed.find((person) => person.name === name);

export const form = (state, key) => state.forms[key] ?? { busy: false, error: "" };
