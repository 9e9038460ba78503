/* Owns the words of the local contract: what the page may call, and what the agent may report.
   A test compares both lists with the agent's own tables; nothing else spells an event's name. */

const words = (...names) => Object.freeze(Object.fromEntries(names.map((name) => [name, name])));

export const EVENTS = Object.freeze({
  calls: words(
    "sign_up",
    "list_people",
    "get_person",
    "set_visibility",
    "forget_me",
    "trust_rendezvous",
    "get_invite",
    "open_invite",
    "connect_to",
    "disconnect_from",
    "set_verified",
    "trust_key",
    "ask_quote",
    "ask_image",
    "offer_quote",
    "offer_image",
    "answer",
    "cancel",
    "add_quote",
    "describe_item",
    "remove_item",
    "get_timeline",
    "get_doctor",
    "get_state",
  ),
  news: words("state", "people", "request", "quote", "image_progress", "image", "notice"),
});
