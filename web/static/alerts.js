/* Owns how a request is noticed while nobody looks at the page: a notification of the browser, a dot on the icon, a sound.
   The first and the last only where the person has chosen them here. */

import { plain } from "./dom.js";
import { texts } from "./language.js";

const NOTIFY = "tmge-notify";
const SOUND = "tmge-sound";
const NOTES = [[659, 0], [880, 0.12]]; // Hz, and seconds from the beginning

const supported = "Notification" in globalThis;

export const notifies = () => supported && localStorage.getItem(NOTIFY) === "yes" && Notification.permission === "granted";
export const sounds = () => localStorage.getItem(SOUND) === "yes";

/** Choose notifications; gives false where the browser does not let them. */
export async function chooseNotifications(wanted) {
  const allowed = wanted && supported && (await Notification.requestPermission()) === "granted";
  localStorage.setItem(NOTIFY, allowed ? "yes" : "no");
  return allowed === wanted;
}

export function chooseSound(wanted) {
  localStorage.setItem(SOUND, wanted ? "yes" : "no");
  if (wanted) play(); // as a sample, and while the browser sees a hand on the page
}

/** Say of new requests that they are there. */
export function alertTo(requests) {
  if (sounds()) play();
  if (document.hasFocus() || !notifies()) return;
  for (const { request, kind, verb, peer, wish } of requests) {
    const note = new Notification(plain(texts.asks[kind][verb], { name: peer }), {
      body: wish ?? "",
      tag: request,
      icon: "/static/icon.svg",
      lang: texts.language,
      dir: texts.direction,
    });
    note.onclick = () => {
      focus();
      location.hash = `#with/${encodeURIComponent(peer)}`;
      note.close();
    };
  }
}

/** Show on the icon whether something waits. */
export function markIcon(waiting) {
  const icon = document.querySelector('link[rel="icon"]');
  const wanted = waiting ? "/static/icon-waiting.svg" : "/static/icon.svg";
  if (icon.getAttribute("href") !== wanted) icon.setAttribute("href", wanted);
}

function play() {
  const sound = new AudioContext();
  for (const [pitch, at] of NOTES) {
    const tone = new OscillatorNode(sound, { frequency: pitch });
    const volume = new GainNode(sound, { gain: 0 });
    const begin = sound.currentTime + at;
    volume.gain.setValueAtTime(0.12, begin);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.25);
    tone.connect(volume).connect(sound.destination);
    tone.start(begin);
    tone.stop(begin + 0.25);
  }
  setTimeout(() => sound.close(), 1000);
}
