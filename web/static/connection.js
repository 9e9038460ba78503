/* Owns the line to the agent: Socket.IO for calls and news, fetch for uploads.
   Calls are promises: they give the agent's answer, or reject with a sentence for the person. */

import { EVENTS } from "./events.js";
import { texts } from "./language.js";
import { openSocket } from "./socket.js";

const PATIENCE = 15_000; // milliseconds until an unanswered call is given up

/** A call that the agent refused, or that did not reach it: `code` of the contract, `message` to show. */
export class CallError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Connect, for as long as the page lives. `onNews(name, value)` and `onLink(state)` are told what happens. */
export function openConnection(onNews, onLink) {
  const socket = openSocket({
    onEvent: (name, value) => name in EVENTS.news && onNews(name, value),
    onUp: () => onLink("up"),
    onDown: async (wasUp) => {
      if (wasUp) onLink("down"); // at once; then why
      const why = (await isLetIn()) ? "down" : "locked";
      if (!socket.isUp()) onLink(why);
    },
  });

  return async function call(name, value = {}) {
    if (!socket.isUp()) throw new CallError("unreachable", texts.agentGone);
    let answer;
    try {
      answer = await socket.call(name, value, PATIENCE);
    } catch {
      throw new CallError("unreachable", socket.isUp() ? texts.noAnswer : texts.agentGone);
    }
    if (!answer.ok) throw new CallError(answer.error.code, answer.error.message);
    return answer;
  };
}

/** Whether the agent still accepts this page's cookie, as far as can be told. */
async function isLetIn() {
  try {
    return (await fetch("/", { method: "HEAD", cache: "no-store" })).status !== 401;
  } catch {
    return true; // no agent at all: another matter
  }
}

/** Add one picture to what I offer; the file travels over HTTP, never over Socket.IO. */
export async function uploadImage(file) {
  const body = new FormData();
  body.append("image", file);
  let response;
  try {
    response = await fetch("/library/images", { method: "POST", body });
  } catch {
    throw new CallError("unreachable", texts.agentGone);
  }
  if (response.ok) return response.json();
  const answer = await response.json().catch(() => null); // a 413 of the server itself may not be JSON
  throw new CallError(answer?.error?.code ?? "bad_request", answer?.error?.message ?? texts.uploadFailed);
}
