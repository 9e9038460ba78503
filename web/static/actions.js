/* Owns what each click means: a call to the agent, a step of our own state, or both.
   Knows no elements. A call under way, and the sentence it failed with, stand in state.forms under its key. */

import { CallError, uploadImage } from "./connection.js";
import { EVENTS } from "./events.js";
import { size } from "./format.js";
import { form } from "./state.js";
import { said, texts } from "./language.js";

const { calls } = EVENTS;
const NOTICE_SECONDS = { info: 6, warning: 12 }; // any other: 20
const EXAMINE_PAUSE = 2000; // milliseconds between looks at a connection, while somebody looks at it
const SEARCH_PAUSE = 200; // milliseconds without a key until the rendezvous is asked

/** The sentence of an error that is for the person; any other is a fault of ours and goes on. */
function sentence(error) {
  if (error instanceof CallError) return said(error.message);
  throw error;
}

export function makeActions(call, dispatch, current) {
  let ids = 0;
  let searching;

  /** Run one call in place: buttons of `key` wait, and its error is shown where they are. */
  async function run(key, work) {
    if (form(current(), key).busy) return false;
    dispatch("form", { key, busy: true, error: "" });
    try {
      await work();
      dispatch("form", { key, busy: false, error: "" });
      return true;
    } catch (error) {
      dispatch("form", { key, busy: false, error: sentence(error) });
      return false;
    }
  }

  async function list(after) {
    const { query } = current().list;
    try {
      const { people, next } = await call(calls.list_people, { query, ...(after && { after }) });
      dispatch("listed", { query, more: Boolean(after), people, next });
    } catch (error) {
      dispatch("list_failed", sentence(error));
    }
  }

  async function loadTimeline(peer, before) {
    await run(`timeline:${peer}`, async () => {
      const { entries, next } = await call(calls.get_timeline, { peer, ...(before && { before }) });
      dispatch("timeline", { peer, entries, next, older: Boolean(before) });
    });
  }

  async function upload(file) {
    const id = ++ids;
    dispatch("upload", { id, name: file.name, status: "busy", message: texts.uploading });
    const limit = current().settings.limits?.image_bytes;
    try {
      if (file.size > limit) {
        throw new CallError("too_large", texts.uploadTooLarge.replace("{limit}", size(limit)));
      }
      await uploadImage(file);
      dispatch("upload", { id, status: "added", message: texts.added });
    } catch (error) {
      dispatch("upload", { id, status: "refused", message: sentence(error) });
    }
  }

  const act = {
    signUp: (name, code) => run("sign_up", () => call(calls.sign_up, { name, ...(code && { code }) })),

    search(query) {
      dispatch("search", query);
      clearTimeout(searching);
      searching = setTimeout(list, SEARCH_PAUSE);
    },
    listPeople: () => list(),

    /** Look again, quietly: the agent reports changes of my people, but not who else comes and goes. */
    async lookAgain() {
      const { list: { query, failed }, peer, contacts } = current();
      if (failed) return list();
      const asked = [call(calls.list_people, { query }).then(({ people }) => people)];
      if (peer && !contacts.some(({ name }) => name === peer)) {
        asked.push(call(calls.get_person, { name: peer }).then(({ person }) => [person]));
      }
      const answers = await Promise.allSettled(asked);
      dispatch("met", answers.flatMap(({ value }) => value ?? []));
    },
    morePeople: () => list(current().list.next),

    /** Load what a conversation needs; an address may name somebody who is not on the list. */
    async openPerson(peer) {
      await loadTimeline(peer);
      await run(`person:${peer}`, async () => {
        const { person } = await call(calls.get_person, { name: peer });
        dispatch("met", [person]);
      });
    },
    setVisibility: (visibility) => run("visibility", () => call(calls.set_visibility, { visibility })),
    async showInvite() {
      act.openDialog({ kind: "invite" });
      await run("invite", async () => dispatch("invite", await call(calls.get_invite)));
    },
    async copy(text) {
      try {
        await navigator.clipboard.writeText(text);
        dispatch("copied", true);
      } catch {
        act.fail("invite", texts.notCopied);
      }
    },
    openInvite: (link, move) =>
      run("open_invite", async () => {
        const answer = await call(calls.open_invite, { link, ...(move && { move }) });
        if (answer.move) return dispatch("move", { ...answer.move, link });
        dispatch("dialog", null);
        dispatch("met", [answer.person]);
        location.hash = `with/${encodeURIComponent(answer.person.name)}`;
      }),
    /** The agent was started with an invitation: whom it leads to, why not, or what is to be asked first. */
    async invited({ name, link, message }) {
      if (name && !location.hash) location.hash = `with/${encodeURIComponent(name)}`;
      if (message) act.notice({ level: "error", message });
      if (!link) return;
      act.openDialog({ kind: "open" });
      await act.openInvite(link);
    },
    /** Explain how we are connected, and look again for as long as that is open. */
    async openDoctor(peer) {
      act.openDialog({ kind: "doctor", peer });
      const { dialog } = current();
      while (current().dialog === dialog) {
        try {
          dispatch("doctor", { peer, ...(await call(calls.get_doctor, { peer })) });
          act.fail("doctor", "");
        } catch (error) {
          act.fail("doctor", sentence(error));
        }
        await new Promise((done) => setTimeout(done, EXAMINE_PAUSE));
      }
    },
    async forgetMe() {
      if (await run("forget", () => call(calls.forget_me))) dispatch("dialog", null);
    },
    trustRendezvous: (fingerprint) => run("trust", () => call(calls.trust_rendezvous, { fingerprint })),
    older: (peer) => loadTimeline(peer, current().timelines[peer]?.next),

    ask: (kind, peer, wish) =>
      run(`ask:${peer}`, () => {
        const name = { connection: calls.connect_to, quote: calls.ask_quote, image: calls.ask_image }[kind];
        return call(name, { peer, ...(wish && { wish }) });
      }),
    async offer(peer, item) {
      const name = { quote: calls.offer_quote, image: calls.offer_image }[item.kind];
      if (await run("offer", () => call(name, { peer, item: item.item }))) dispatch("dialog", null);
    },
    disconnect: (peer) => run(`ask:${peer}`, () => call(calls.disconnect_from, { peer })),
    setVerified: (peer, verified) => run("keys", () => call(calls.set_verified, { peer, verified })),
    trustKey: (peer, fingerprint) => run(`key:${peer}`, () => call(calls.trust_key, { peer, fingerprint })),
    cancel: (request) => run(`request:${request}`, () => call(calls.cancel, { request })),
    answer: (request, accept, item) =>
      run(`request:${request}`, () => call(calls.answer, { request, accept, ...(item && { item }) })),

    addQuote: (quote) => run("add_quote", () => call(calls.add_quote, quote)),
    async removeItem(item) {
      if (await run(`item:${item}`, () => call(calls.remove_item, { item }))) dispatch("removing", null);
    },
    askRemoval: (item) => dispatch("removing", item),
    async addImages(files) {
      dispatch("shelf", "image");
      for (const file of files) await upload(file); // one by one: the agent checks each in a child process
    },
    uploadsSeen: () => dispatch("uploads_seen", null),
    showShelf: (kind) => dispatch("shelf", kind),

    openDialog(dialog) {
      for (const key of [dialog.kind, "open_invite"]) dispatch("form", { key, busy: false, error: "" });
      dispatch("dialog", dialog);
    },
    closeDialog: () => dispatch("dialog", null),
    fail: (key, error) => dispatch("form", { key, busy: false, error }),

    notice({ level, message }) {
      const id = ++ids;
      dispatch("notice", { id, level, message });
      setTimeout(() => dispatch("notice_seen", id), 1000 * (NOTICE_SECONDS[level] ?? 20));
    },
    noticeSeen: (id) => dispatch("notice_seen", id),
  };
  return act;
}
