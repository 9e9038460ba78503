/* Owns how numbers, sizes and times are written, in the form of the reader's locale. Pure. */

import { texts } from "./language.js";

const locale = navigator.languages?.find((tag) => tag.startsWith(texts.language)) ?? texts.language;

const clockTime = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const dayAndTime = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
const wholeDay = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const nearDay = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });
const whole = new Intl.NumberFormat(locale);
const twoDigits = new Intl.NumberFormat(locale, { minimumIntegerDigits: 2 });
const percents = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
const sizes = [["byte", 0], ["kilobyte", 0], ["megabyte", 1], ["gigabyte", 1]].map(([unit, digits]) => {
  const fraction = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: texts.units, ...fraction });
});

export const number = (value) => whole.format(value);
export const percent = (share) => percents.format(share);

/** Bytes in the largest decimal unit of which there is at least one. */
export function size(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return sizes[power].format(bytes / 1000 ** power);
}

/** Seconds as 4:32, or 1:04:32. */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  const head = hours ? `${whole.format(hours)}:${twoDigits.format(minutes)}` : whole.format(minutes);
  return `${head}:${twoDigits.format(s % 60)}`;
}

/** Unix seconds as a time of day, with the date unless it is today. */
export function moment(seconds, now = new Date()) {
  const date = new Date(seconds * 1000);
  return (date.toDateString() === now.toDateString() ? clockTime : dayAndTime).format(date);
}

/** The calendar day of Unix seconds, to compare with another. */
export const dayOf = (seconds) => new Date(seconds * 1000).toDateString();

/** That day in words: today, yesterday, or its date. */
export function day(seconds, now = new Date()) {
  const ago = [0, 1].find((days) => {
    const then = new Date(now);
    then.setDate(now.getDate() - days);
    return then.toDateString() === dayOf(seconds);
  });
  return ago === undefined ? wholeDay.format(seconds * 1000) : nearDay.format(-ago, "day");
}

export const iso = (seconds) => new Date(seconds * 1000).toISOString();

/** The first groups of a fingerprint: enough to tell two people apart at a glance. */
export const shortFingerprint = (fingerprint) => fingerprint.split("-").slice(0, 2).join("-");
