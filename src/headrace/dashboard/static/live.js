/** The server's pulse: a sample every two seconds, for whoever wants to know. */

import { follow, Problem } from "./api.js";

const listeners = new Set();
let newest = null;
let stands = null;

export const pulse = new EventTarget();

/** Begins to follow; once, when somebody has signed in. */
export function begin(signal) {
  newest = null;
  follow("/api/v1/stats/events", {
    signal,
    told: ({ data }) => {
      newest = data;
      for (const listener of [...listeners]) listener(data);
    },
    linked: (now) => {
      if (stands === now) return;
      stands = now;
      pulse.dispatchEvent(new CustomEvent("linked", { detail: now }));
    },
  }).catch(() => {});
}

/** Calls `listener` with each sample, until the page is left; with the newest one at once. */
export function onSample(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
  if (newest) listener(newest);
}

/**
 * Loads and shows what a page is about, at once and then with every sample; not while the window is
 * hidden, and never twice at a time. Returns a function that does it now.
 */
export function keep(load, show, signal, { failed, paused = () => false } = {}) {
  let running = false;
  let again = false;
  async function look() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      const found = await load(signal);
      if (!signal.aborted) show(found);
    } catch (error) {
      if (error.name === "AbortError" || signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      failed?.(error);
    } finally {
      running = false;
      if (again && !signal.aborted) {
        again = false;
        look();
      }
    }
  }
  let first = true;
  onSample(() => {
    if (!first && !document.hidden && !paused()) look();
    first = false;
  }, signal);
  first = false;
  look();
  return look;
}
