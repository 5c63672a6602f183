/** API keys, for admins: who may do what; made, shown once, revoked. */

import { ask, get, part, post, Problem, session } from "./api.js";
import { choices, complain, confirm, field, form, problemBox, tell } from "./dialog.js";
import { fill, h } from "./dom.js";
import { ago } from "./format.js";
import { keep } from "./live.js";
import { badge, breakable, button, empty, head, pager, table } from "./parts.js";
import { showOnce } from "./webhooks.js";

export const title = "Keys";

const PATH = "/api/v1/keys";
const SCOPES = [
  ["submit", "submit: submit jobs, and steer one's own"],
  ["read", "read: see jobs, lists, logs and figures"],
  ["work", "work: get jobs and report on them"],
  ["admin", "admin: all of that for the whole tenant, and keys"],
  ["impersonate", "impersonate: say for whom a request is made"],
];
const LIVES = [
  ["", "It does not expire"],
  ["24h", "A day"],
  ["720h", "30 days"],
  ["2160h", "90 days"],
  ["8760h", "A year"],
];

export function show(main, { signal }) {
  const trouble = h("div");
  const pages = pager(() => look());
  const listed = table(title, columns(() => look()), ({ id }) => id, () =>
    empty(
      "No keys: the server is open",
      "Anybody on this machine may do anything. The first key ends that; make it one of an admin.",
    ),
  );
  main.append(
    head(
      title,
      "A key's secret is shown once and kept as a hash. Revoking one counts at once.",
      button("New key", () => make().then(look), { kind: "primary" }),
    ),
    trouble,
    listed.element,
    pages.element,
  );
  const look = keep(
    () => get(PATH, { limit: 50, after: pages.cursor }, signal),
    ({ keys, next }) => {
      fill(trouble);
      listed.show(keys);
      pages.show(next, keys.length);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, look)) },
  );
}

function columns(then) {
  return [
    {
      title: "Key",
      cell: ({ id, name }) => [
        name || "(no name)",
        h("small", { class: "mono" }, id),
      ],
    },
    { title: "Status", cell: ({ status }) => badge(status) },
    { title: "Scopes", kind: "wide", cell: ({ scopes }) => scopes.join(", ") },
    {
      title: "For",
      cell: ({ tenant_id: tenant, user }) => [breakable(user), h("small", {}, tenant === "*" ? "all tenants" : `of ${tenant}`)],
    },
    { title: "Made", kind: "wide", cell: ({ created_at: at }) => ago(at) },
    { title: "Last used", kind: "wide", cell: ({ last_used_at: at }) => (at ? ago(at) : "not since the start") },
    { title: "Ends", kind: "wide", cell: ({ expires_at: at, revoked_at: ended }) => ago(ended ?? at) },
    {
      title: "",
      kind: "acts",
      cell: (key) =>
        key.status === "live" &&
        button("Revoke", () => revoke(key).then(then), {
          kind: "danger quiet",
          focus: "revoke",
          label: `Revoke ${key.name || key.id}`,
        }),
    },
  ];
}

async function revoke({ id, name }) {
  const own = id === session.who.key_id;
  const sure = await confirm({
    title: `Revoke ${name || id}?`,
    text: [
      "Whoever uses it is refused from now on, workers and streams included. It cannot be undone.",
      own && h("p", {}, h("strong", {}, "You are signed in with this key: you will be signed out.")),
    ].filter(Boolean),
    act: "Revoke",
    danger: true,
  });
  if (!sure) return;
  try {
    await ask("DELETE", `${PATH}/${part(id)}`);
    tell(`${name || id}: revoked`);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    complain(error);
  }
}

async function make() {
  const { who } = session;
  const anyTenant = who.open || who.all_tenants;
  const scopes = SCOPES.filter(([word]) => who.open || who.scopes.includes(word) || (word !== "impersonate" && session.may("admin")));
  const made = await form({
    title: "New key",
    fields: [
      field("name", "Name", { hint: "What you call it", maxlength: 200 }),
      anyTenant && field("tenant", "Tenant", { value: who.open ? "*" : "", hint: "* for all; empty: yours" }),
      field("user", "User", { hint: "Who its bearer is; empty: you" }),
      choices("scopes", "Scopes", scopes, who.open ? ["admin"] : ["submit", "read"]),
      field("expires_in", "Life", { options: LIVES }),
    ].filter(Boolean),
    act: "Make it",
    send: (values) =>
      post(PATH, {
        name: values.name,
        tenant: values.tenant || null,
        user: values.user || null,
        scopes: values.scopes,
        expires_in: values.expires_in || null,
      }),
  });
  if (made) await showOnce(`Key ${made.view.name || made.id}`, made.key, "Give it to whoever is to use it.");
}
