/** Dialogs and notices: what asks before it acts, and what tells how it went. */

import { Problem } from "./api.js";
import { add, fill, h } from "./dom.js";

const NOTICE_MS = 6000;

let numbers = 0;

/** A number that makes an element's id one of its kind. */
export function fresh(prefix) {
  numbers += 1;
  return `${prefix}-${numbers}`;
}

/**
 * Opens a dialog; resolves with what it was closed with, or null. `body` gets `close`. The browser
 * holds the focus inside and gives it back afterwards.
 */
export function open(title, body, { wide = false } = {}) {
  const id = fresh("dialog");
  const dialog = h("dialog", { "aria-labelledby": id, class: wide ? "wide" : null });
  let result = null;
  const close = (value) => {
    result = value;
    dialog.close();
  };
  add(dialog, h("h2", { id }, title), body(close));
  document.body.append(dialog);
  const before = document.activeElement;
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
      done(result);
    });
  });
}

/** Asks before something is done. `act` names it on the button; `danger` if it cannot be undone. */
export function confirm({ title, text, act, danger = false }) {
  return open(title, (close) => [
    [text].flat().map((line) => (line instanceof Node ? line : h("p", {}, line))),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", onclick: () => close(null) }, "Leave it"),
      h(
        "button",
        {
          type: "button",
          class: danger ? "danger" : "primary",
          autofocus: true,
          onclick: () => close(true),
        },
        act,
      ),
    ),
  ]);
}

/**
 * Asks for fields. `fields` are made by `field`; `send` gets their values and may throw a `Problem`,
 * which is shown in the dialog. Resolves with what `send` gave, or null.
 */
export function form({ title, text, fields, act, send }) {
  return open(title, (close) => {
    const trouble = h("div", { class: "trouble", role: "alert" });
    const button = h("button", { type: "submit", class: "primary" }, act);
    async function submit(event) {
      event.preventDefault();
      button.disabled = true;
      fill(trouble);
      try {
        close(await send(Object.fromEntries(fields.map((one) => [one.name, one.read()]))));
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        fill(trouble, problemText(error));
        button.disabled = false;
      }
    }
    return h(
      "form",
      { onsubmit: submit },
      text && h("p", {}, text),
      fields.map((one) => one.element),
      trouble,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
        button,
      ),
    );
  });
}

/** A field of a form: a label, an input, and a hint. */
export function field(name, label, { hint, options, value = "", ...attributes } = {}) {
  const id = fresh("field");
  const about = hint ? `${id}-hint` : null;
  const input = options
    ? h(
        "select",
        { id, "aria-describedby": about, ...attributes },
        options.map(([word, text]) => h("option", { value: word, selected: word === value }, text)),
      )
    : h("input", { id, value, autocomplete: "off", "aria-describedby": about, ...attributes });
  const element = h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    input,
    hint && h("small", { id: about }, hint),
  );
  return { name, element, input, read: () => input.value.trim() };
}

/** A field of boxes, of which several may be ticked. */
export function choices(name, label, options, ticked = []) {
  const boxes = options.map(([word, text]) => {
    const box = h("input", { type: "checkbox", value: word, checked: ticked.includes(word) });
    return [box, h("label", { class: "tick" }, box, h("span", {}, text))];
  });
  const element = h(
    "fieldset",
    { class: "field" },
    h("legend", {}, label),
    boxes.map(([, line]) => line),
  );
  const read = () => boxes.filter(([box]) => box.checked).map(([box]) => box.value);
  return { name, element, read };
}

// Problems and notices ---------------------------------------------------------------------------

/** What a problem says: its title, its reason, what to do next if that is `advised`, its code. */
export function problemText(problem, { advised = true } = {}) {
  const { pointer, advice } = problem.members;
  return [
    h("strong", {}, problem.title),
    h("span", {}, problem.message),
    advised && advice && h("p", { class: "advice" }, advice),
    h("code", {}, pointer ? `${problem.code} at ${pointer}` : problem.code),
  ];
}

/** A problem in the place of what could not be shown. */
export function problemBox(problem, again) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    problemText(problem),
    again && h("button", { type: "button", onclick: again }, "Try again"),
  );
}

const notices = h("div", { class: "notices", role: "status", "aria-live": "polite" });
const alarms = h("div", { class: "notices alarms", role: "alert" });

/** Puts the places of notices into the page; once. */
export function place() {
  document.body.append(notices, alarms);
}

/** Tells how something went, for some seconds. */
export function tell(...children) {
  show(notices, "notice", children);
}

/** Tells of a problem, until it is put away. */
export function complain(problem) {
  show(alarms, "notice bad", problemText(problem));
}

function show(where, kind, children) {
  const put = () => notice.remove();
  const notice = h(
    "div",
    { class: kind },
    h("div", {}, children),
    h("button", { type: "button", class: "bare", "aria-label": "Put away", onclick: put }, "×"),
  );
  where.append(notice);
  if (where === notices) setTimeout(put, NOTICE_MS);
}
