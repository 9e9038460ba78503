/* Owns how this page looks and sounds in this browser: language, colours, notifications, and where they are chosen. */

import { chooseNotifications, chooseSound, notifies, sounds } from "./alerts.js";
import { h } from "./dom.js";
import { languages, nameOf, speak, texts } from "./language.js";

const KEPT = "tmge-theme";
const THEMES = ["system", "light", "dark"];

const theme = () => localStorage.getItem(KEPT) ?? "system";

/** Show the colours that were chosen here; `system` leaves them to the system. */
export function applyTheme() {
  document.documentElement.style.colorScheme = theme() === "system" ? "" : theme();
}

function chooseTheme(chosen) {
  localStorage.setItem(KEPT, chosen);
  applyTheme();
}

export const looks = () =>
  h("div.looks", null,
    choice("language", texts.languageLabel, languages.map((one) => [one, nameOf(one)]), texts.language, speak),
    choice("theme", texts.theme, THEMES.map((one) => [one, texts.themes[one]]), theme(), chooseTheme),
    toggle("notify", texts.notify, notifies(), async (box) => {
      if (!(await chooseNotifications(box.checked))) {
        box.checked = false;
        box.setCustomValidity(texts.notifyRefused);
        box.reportValidity();
      }
    }),
    toggle("sound", texts.sound, sounds(), (box) => chooseSound(box.checked)),
  );

const toggle = (name, label, checked, choose) =>
  h("label.toggle", { key: name },
    h(`input.${name}`, { type: "checkbox", checked, onchange: (event) => choose(event.target) }),
    h("span", null, label),
  );

const choice = (name, label, options, chosen, choose) =>
  h("label.field", { key: name }, h("span", null, label),
    h(`select.${name}`, { initial: chosen, onchange: (event) => choose(event.target.value) },
      options.map(([value, text]) => h("option", { key: value, value, lang: name === "language" && value, selected: value === chosen }, text)),
    ),
  );
