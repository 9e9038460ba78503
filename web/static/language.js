/* Owns which language the page speaks: the one chosen on this page, else the browser's, else English.
   A language is one file, texts_LL.js; the agent lists those that there are in the page's head. */

const KEPT = "tmge-language";

export const languages = document.querySelector('meta[name="languages"]').content.split(" ");

const wanted = [localStorage.getItem(KEPT), ...navigator.languages.map((tag) => tag.split("-")[0])];
const chosen = wanted.find((language) => languages.includes(language)) ?? "en";

export const { texts } = await import(`./texts_${chosen}.js`);

document.documentElement.lang = texts.language;
document.documentElement.dir = texts.direction;

/** Speak another language from now on: the page begins anew, and the agent keeps what was going on. */
export function speak(language) {
  localStorage.setItem(KEPT, language);
  location.reload();
}

/** A language's name in itself. */
export const nameOf = (language) => new Intl.DisplayNames([language], { type: "language" }).of(language);

const sentences = Object.entries(texts.sentences ?? {}).map(([pattern, text]) => {
  const parts = pattern.split("{}").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return [new RegExp(`^${parts.join("([^]+?)")}$`), text];
});

/** A sentence of the agent in the reader's language: as it is where nobody has translated it.
 *  Patterns hold {} for what changes, translations {1}, {2} …, which may be sentences themselves. */
export function said(sentence) {
  for (const [pattern, text] of sentences) {
    const found = pattern.exec(sentence);
    if (found) return text.replace(/\{(\d)\}/g, (_, at) => said(found[at]));
  }
  return sentence;
}
