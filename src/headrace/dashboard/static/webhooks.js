/** Webhooks: who is told of what, how that goes, each delivery, and sending one again. */

import { ask, get, part, post, Problem, put } from "./api.js";
import { complain, confirm, field, form, open, problemBox, tell } from "./dialog.js";
import { fill, h, renew } from "./dom.js";
import { ago, count } from "./format.js";
import { keep } from "./live.js";
import {
  badge,
  breakable,
  button,
  empty,
  facts,
  head,
  jobLink,
  link,
  pager,
  panel,
  table,
} from "./parts.js";

export const title = "Webhooks";

const PATH = "/api/v1/webhooks";

export function show(main, { signal }) {
  const trouble = h("div");
  const pages = pager(() => look());
  const listed = table(title, columns(() => look()), ({ id }) => id, () =>
    empty("No webhooks", "Register one, and events are sent there, signed, until they are received."),
  );
  main.append(
    head(
      title,
      "Events are signed as Standard Webhooks says, and tried for three days.",
      button("New webhook", () => make().then(look), { kind: "primary" }),
    ),
    trouble,
    listed.element,
    pages.element,
  );
  const look = keep(
    () => get(PATH, { limit: 50, after: pages.cursor }, signal),
    ({ webhooks, next }) => {
      fill(trouble);
      listed.show(webhooks);
      pages.show(next, webhooks.length);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, look)) },
  );
}

function columns(then) {
  return [
    {
      title: "Webhook",
      cell: ({ id, url, description }) => [
        link(url, `#/webhooks/${part(id)}`, { class: "clip" }),
        h("small", {}, description || id),
      ],
    },
    {
      title: "Status",
      cell: ({ enabled, disabled_reason: reason, failures, last }) => [
        badge(enabled ? "enabled" : "disabled"),
        reason && h("small", {}, reason === last?.error ? "see the latest try" : reason),
        failures > 0 && h("small", { class: "bad" }, `${count(failures)} failures in a row`),
      ],
    },
    { title: "Events", kind: "wide", cell: ({ events }) => h("span", { class: "clip" }, events.join(", ")) },
    { title: "Waiting", kind: "num", cell: ({ pending }) => count(pending) },
    { title: "Latest try", kind: "wide words", cell: ({ last }) => tryText(last) },
    { title: "", kind: "acts wide", cell: (webhook) => acts(webhook, then) },
  ];
}

function tryText(last) {
  if (!last) return "–";
  const said = last.error ?? `${last.status}`;
  return [h("span", { class: last.error ? "bad" : null }, said), h("small", {}, ago(last.at), `, ${last.took_ms} ms`)];
}

/** `removal` hears when it may be gone from now on, and whether it is. */
function acts(webhook, then, removal = { begin() {}, end: then }) {
  const { url, enabled } = webhook;
  const one = (word, act, more) =>
    button(word, () => guarded(act).then(then), { focus: word, label: `${word} ${url}`, ...more });
  return [
    enabled && one("Test", () => test(webhook)),
    one(enabled ? "Disable" : "Enable", () => turn(webhook)),
    button("Remove", () => remove(webhook, removal), {
      kind: "danger quiet",
      focus: "Remove",
      label: `Remove ${url}`,
    }),
  ];
}

async function guarded(act) {
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    complain(error);
    return null;
  }
}

async function test({ id, url }) {
  await post(`${PATH}/${part(id)}/test`);
  tell(`A ping is on its way to ${url}`);
}

async function turn({ id, url, events, jobs, description, enabled, version }) {
  const settings = { url, events, jobs, description, enabled: !enabled };
  await put(`${PATH}/${part(id)}`, settings, version);
  tell(`${url}: ${enabled ? "disabled" : "enabled"}`);
}

async function remove({ id, url }, { begin, end }) {
  const sure = await confirm({
    title: "Remove the webhook?",
    text: `What waits for ${url} is not sent.`,
    act: "Remove",
    danger: true,
  });
  if (!sure) return;
  begin();
  const removed = await guarded(async () => {
    await ask("DELETE", `${PATH}/${part(id)}`);
    tell(`${url}: removed`);
    return true;
  });
  end(removed);
}

async function make() {
  const made = await form({
    title: "New webhook",
    fields: [
      field("url", "Address", { type: "url", required: true, placeholder: "https://…" }),
      field("events", "Events", { value: "*", hint: "By commas, such as job.failed, job.*, or *" }),
      field("description", "Description"),
    ],
    act: "Register",
    send: ({ url, events, description }) =>
      post(PATH, { url, events: words(events), description }),
  });
  if (made) await showOnce("The webhook's secret", made.secret, "Its receiver checks signatures with it.");
}

const words = (text) => text.split(",").map((word) => word.trim()).filter(Boolean);

/** Shows a secret, this once. */
export function showOnce(heading, secret, about) {
  return open(heading, (close) => {
    const input = h("input", { class: "mono", readonly: true, value: secret, "aria-label": heading });
    input.addEventListener("focus", () => input.select());
    const copy = button("Copy", async () => {
      await navigator.clipboard.writeText(secret);
      tell("Copied");
    });
    return [
      h("p", {}, about),
      h("p", {}, h("strong", {}, "It cannot be shown again.")),
      h("div", { class: "row" }, input, navigator.clipboard && copy),
      h("div", { class: "buttons" }, button("I have it", () => close(true), { kind: "primary" })),
    ];
  });
}

// One --------------------------------------------------------------------------------------------

export const one = { title: "Webhook", show: showOne };

function showOne(main, { name: id, signal }) {
  const top = h("div");
  const about = h("div");
  const trouble = h("div");
  const path = `${PATH}/${part(id)}`;
  let going = false;
  const removal = {
    begin: () => {
      going = true;
    },
    end: (removed) => {
      going = removed;
      if (removed) location.hash = "#/webhooks";
    },
  };
  const pages = pager(() => again());
  const status = h(
    "select",
    {
      "aria-label": "Deliveries shown",
      onchange: () => {
        pages.reset();
        again();
      },
    },
    [["", "All deliveries"], ["pending", "Waiting"], ["delivered", "Delivered"], ["failed", "Failed"]].map(
      ([word, text]) => h("option", { value: word }, text),
    ),
  );
  const listed = table(
    "Deliveries",
    [
      {
        title: "Event",
        cell: ({ event, id: message }) => [event, h("small", { class: "mono" }, message)],
      },
      {
        title: "Status",
        cell: ({ status: word, next_try_at: next }) => [
          badge(word),
          next && h("small", {}, "next try ", ago(next)),
        ],
      },
      { title: "Job", kind: "wide", cell: ({ job_id: job }) => (job ? jobLink(job) : "–") },
      { title: "Tries", kind: "num", cell: ({ tries }) => count(tries) },
      { title: "Latest try", cell: ({ last }) => tryText(last) },
      { title: "Made", kind: "wide", cell: ({ created_at: at }) => ago(at) },
      {
        title: "",
        kind: "acts",
        cell: ({ id: message, event }) =>
          button("Replay", () => guarded(() => replay(path, message, event)).then(again), {
            focus: "replay",
            label: `Replay ${message}`,
          }),
      },
    ],
    ({ id: message }) => message,
    () => empty("No deliveries", "None was made yet, or none is like this. A test makes one."),
  );
  main.append(
    top,
    h(
      "div",
      { class: "stack" },
      about,
      panel(h("span", { class: "row" }, "Deliveries", h("span", { class: "end" }, status)), trouble, listed.element, pages.element),
    ),
  );
  fill(top, head(title));
  const again = keep(
    async () => {
      const [webhook, deliveries] = await Promise.all([
        get(path, {}, signal),
        get(`${path}/deliveries`, { limit: 50, status: status.value, after: pages.cursor }, signal),
      ]);
      return { webhook, deliveries };
    },
    ({ webhook, deliveries }) => {
      fill(trouble);
      const { url, enabled, version } = webhook;
      renew(top, [url, enabled, version], () => headOf(webhook, () => again(), removal));
      fill(about, aboutIt(webhook));
      listed.show(deliveries.deliveries);
      pages.show(deliveries.next, deliveries.count);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, () => again())), paused: () => going },
  );
}

function headOf(webhook, then, removal) {
  const { url, enabled } = webhook;
  const buttons = acts(webhook, then, removal);
  const secret = button("New secret", () => guarded(() => rotate(webhook)).then(then), {
    focus: "secret",
  });
  return head(
    h("span", { class: "row" }, h("span", {}, breakable(url)), badge(enabled ? "enabled" : "disabled")),
    h("span", { class: "mono" }, webhook.id),
    buttons.slice(0, -1),
    secret,
    buttons.at(-1),
  );
}

function aboutIt(webhook) {
  return panel(
    "About it",
    facts([
      ["Events", webhook.events.join(", ")],
      ["Jobs", webhook.jobs === "tenant" ? `all of ${webhook.tenant_id}` : `those of ${webhook.user}`],
      ["Description", webhook.description],
      ["Disabled", webhook.disabled_reason],
      ["Waiting", count(webhook.pending)],
      ["Failures in a row", count(webhook.failures)],
      ["Latest try", tryText(webhook.last)],
      ["Changed", [ago(webhook.changed_at), ` by ${webhook.changed_by}`]],
    ]),
  );
}

async function replay(path, message, event) {
  await post(`${path}/deliveries/${part(message)}/replay`);
  tell(`${event} is sent again`);
}

async function rotate({ id }) {
  const sure = await confirm({
    title: "Make a new secret?",
    text: "The one before signs too for 24 hours, so that the receiver can change over.",
    act: "Make it",
  });
  if (!sure) return;
  const made = await post(`${PATH}/${part(id)}/rotate-secret`, {});
  await showOnce("The new secret", made.secret, "Its receiver checks signatures with it.");
}
