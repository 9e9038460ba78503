/* Owns the line itself: Socket.IO (protocol 5) on Engine.IO (protocol 4), as much of it as a page needs that speaks to its
   own agent: one WebSocket, the default namespace, events with acknowledgements, no binary. It connects anew by itself.
   Knows no words of the contract: those are connection.js's. */

const PAUSE_FIRST = 300; // milliseconds before it connects anew, doubled each time
const PAUSE_LAST = 2000;
const PATIENCE = 5000; // milliseconds from the first try to the first word
const [OPEN, CLOSE, PING, PONG, MESSAGE] = "01234"; // of Engine.IO
const [CONNECT, DISCONNECT, EVENT, ACK, REFUSED] = "01234"; // of Socket.IO, inside a message

/** Open the line, for as long as the page lives. `onEvent(name, value)`, `onUp()` and `onDown(wasUp)` are told what
 *  happens, the last one also for each try that fails. Gives `call(name, value, patience)` and `isUp()`. */
export function openSocket({ onEvent, onUp, onDown }) {
  let socket = null;
  let isUp = false;
  let pause = PAUSE_FIRST;
  let watchdog = 0;
  let silence = PATIENCE; // milliseconds without a ping after which nobody is there
  let nextId = 0;
  let early = []; // events that overtook the word that we are let in
  const waiting = new Map(); // id -> {resolve, reject, timer}

  function connect() {
    const { protocol, host } = location;
    socket = new WebSocket(`${protocol === "https:" ? "wss" : "ws"}://${host}/socket.io/?EIO=4&transport=websocket`);
    socket.onmessage = ({ data }) => take(data);
    socket.onclose = lost;
    watchdog = setTimeout(drop, PATIENCE);
  }

  /** Leave at once: nobody may be there to close with. */
  function drop() {
    socket.onclose = socket.onmessage = null;
    socket.close();
    lost();
  }

  function lost() {
    clearTimeout(watchdog);
    const wasUp = isUp;
    isUp = false;
    early = [];
    for (const { reject, timer } of waiting.values()) {
      clearTimeout(timer);
      reject(new Error("lost"));
    }
    waiting.clear();
    onDown(wasUp);
    setTimeout(connect, pause * (0.5 + Math.random() / 2));
    pause = Math.min(2 * pause, PAUSE_LAST);
  }

  function take(data) {
    const kind = data[0];
    if (kind === OPEN) {
      const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
      silence = pingInterval + pingTimeout;
      socket.send(MESSAGE + CONNECT);
    } else if (kind === PING) socket.send(PONG);
    else if (kind === MESSAGE) takeMessage(data[1], data.slice(2));
    else if (kind === CLOSE) socket.close();
    clearTimeout(watchdog);
    watchdog = setTimeout(drop, silence);
  }

  function takeMessage(kind, rest) {
    if (kind === CONNECT) {
      isUp = true;
      pause = PAUSE_FIRST;
      onUp();
      for (const event of early.splice(0)) onEvent(...event);
    } else if (kind === EVENT) {
      const event = JSON.parse(rest.replace(/^\d+/, ""));
      if (isUp) onEvent(...event);
      else early.push(event);
    } else if (kind === ACK) {
      const id = parseInt(rest, 10);
      const call = waiting.get(id);
      waiting.delete(id);
      clearTimeout(call?.timer);
      call?.resolve(JSON.parse(rest.slice(String(id).length))[0]);
    } else if (kind === DISCONNECT || kind === REFUSED) socket.close();
  }

  connect();

  /** Send an event; gives the acknowledgement, or rejects where none comes within `patience` milliseconds. */
  function call(name, value, patience) {
    if (!isUp) return Promise.reject(new Error("down"));
    return new Promise((resolve, reject) => {
      const id = nextId++;
      const timer = setTimeout(() => waiting.delete(id) && reject(new Error("late")), patience);
      waiting.set(id, { resolve, reject, timer });
      socket.send(`${MESSAGE}${EVENT}${id}${JSON.stringify([name, value])}`);
    });
  }

  return { call, isUp: () => isUp };
}
