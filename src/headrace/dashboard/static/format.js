/** Numbers, spans and instants as people read them. */

import { h } from "./dom.js";

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const INSTANT = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "medium",
});
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const NONE = "–";

/** 12,345 */
export function count(value) {
  return value === null || value === undefined ? NONE : WHOLE.format(value);
}

/** 12.3K: where there is little room */
export function short(value) {
  return Math.abs(value) < 10_000 ? WHOLE.format(value) : SHORT.format(value);
}

/** 0.4, 12, 3,456: jobs a second */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  return value > 0 && value < 10 ? value.toFixed(1) : short(value);
}

/** 4 ms, 1.5 s, 3 m 20 s, 2 h 5 m, 3 d 4 h */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const whole = Math.round(seconds);
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

/** 512 MB, 1.5 GB, from megabytes */
export function megabytes(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 1024 ? `${Number((value / 1024).toFixed(1))} GB` : `${Number(value)} MB`;
}

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${Number(value.toFixed(value < 10 && at ? 1 : 0))} ${units[at]}`;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** 31 Jan 2030, 12:00:00 */
export function instant(text) {
  return text ? INSTANT.format(new Date(text)) : NONE;
}

export function clock(text) {
  return text ? CLOCK.format(new Date(text)) : NONE;
}

/** "3 s ago" or "in 5 m", of now */
function distance(text) {
  const seconds = Math.round((Date.now() - new Date(text).getTime()) / 1000);
  if (seconds === 0) return "now";
  const [first] = span(Math.abs(seconds)).split(/(?<=[a-z]) /);
  return seconds > 0 ? `${first} ago` : `in ${first}`;
}

/** An instant as a distance that keeps itself up to date; its exact time is its title. */
export function ago(text) {
  if (!text) return NONE;
  return h("time", { datetime: text, title: instant(text), "data-ago": true }, distance(text));
}

/** An instant in full. */
export function time(text) {
  return text ? h("time", { datetime: text }, instant(text)) : NONE;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    element.textContent = distance(element.getAttribute("datetime"));
  }
}, 5000);

/** Between two instants, in words. */
export function between(from, to) {
  return from && to ? span(Math.max(0, (new Date(to) - new Date(from)) / 1000)) : NONE;
}

/** A JSON value, indented. */
export function json(value) {
  return JSON.stringify(value, null, 2);
}

// Escape sequences of terminals: CSI …, OSC … BEL, and two-character ones.
const ANSI = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g;

/** A log as plain text: colours of terminals left out, other control characters shown. */
export function plain(text) {
  return text
    .replace(/\r\n/g, "\n")
    .replace(ANSI, "")
    .replace(CONTROLS, (found) => `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
