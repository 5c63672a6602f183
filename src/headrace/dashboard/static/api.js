/** Asks the server, as whoever is signed in; a refusal is a `Problem`. */

const RETRY_MS = 2000;
const BASE = new URL(".", document.baseURI);

/** Who is signed in, and for whom is asked. */
export const session = {
  /** The answer of `/api/v1/session`. */
  who: null,
  /** A tenant that was chosen; empty: one's own. */
  tenant: "",

  /** Whether one may do what takes a scope. */
  may(scope) {
    const { scopes } = this.who;
    return scopes.includes(scope) || (scope !== "impersonate" && scopes.includes("admin"));
  },
  /** Whether one may do what belongs to the server, not to one tenant. */
  get mayRun() {
    return this.who.open || (this.may("admin") && this.who.all_tenants);
  },
  /** Whether one may ask for other tenants. */
  get mayChoose() {
    return this.who.open || (this.may("impersonate") && this.who.all_tenants);
  },
};

/** An expected refusal (RFC 9457), or a server that cannot be reached. */
export class Problem extends Error {
  constructor(status, members) {
    super(members.detail);
    this.status = status;
    this.code = members.code;
    this.title = members.title;
    this.members = members;
  }
}

/** Where to hear that the session is over. */
export const ends = new EventTarget();

function headers(method) {
  const found = { Accept: "application/json" };
  if (method !== "GET" && session.who?.csrf_token) {
    found["X-CSRF-Token"] = session.who.csrf_token;
  }
  if (session.who?.open) found["X-User-ID"] = "admin"; // who sees the jobs of all users
  if (session.tenant) found["X-Tenant-ID"] = session.tenant;
  return found;
}

/** The address of a path of the API. A value of a query that is empty is left out. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

async function send(method, path, { query, body, signal, accept, expect } = {}) {
  const sent = { ...headers(method), ...expect };
  if (accept) sent.Accept = accept;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {
      code: "unreachable",
      title: "The server cannot be reached",
      detail: "is it running, and is the network there?",
      advice: "What is shown goes on by itself when the server is back",
    });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  let members;
  try {
    members = await response.json();
  } catch {
    members = { code: String(response.status), title: "Not an answer of headrace", detail: "" };
  }
  if (members.code === "unauthenticated" && !response.url.endsWith("/api/v1/session")) {
    ends.dispatchEvent(new Event("ended"));
  }
  return new Problem(response.status, members);
}

export async function ask(method, path, options) {
  return parse(await (await send(method, path, options)).text());
}

/** Reads JSON; numbers that this language would round stay as they were written, if it can. */
function parse(body) {
  return JSON.parse(body, (_, value, context) => {
    const source = context?.source;
    const rounded = typeof value === "number" && source && !Number.isSafeInteger(value);
    return rounded && JSON.rawJSON && /^-?\d+$/.test(source) ? JSON.rawJSON(source) : value;
  });
}

export function get(path, query, signal) {
  return ask("GET", path, { query, signal });
}

/** Sets what has a version: only if it is still as it was read; 0: only if there is nothing. */
export function put(path, body, version) {
  const expect = version ? { "If-Match": `"${version}"` } : { "If-None-Match": "*" };
  return ask("PUT", path, { body, expect });
}

export function post(path, body, query) {
  return ask("POST", path, { body, query });
}

export async function text(path, query, signal) {
  return (await send("GET", path, { query, signal, accept: "text/plain" })).text();
}

/** A name as a part of a path. */
export function part(name) {
  return encodeURIComponent(name);
}

/**
 * Follows server-sent events, over broken connections too, until the server has no more.
 * `told` hears each event; `linked` whether the stream stands.
 */
export async function follow(path, { query = {}, signal, told, linked = () => {} }) {
  let last = "";
  while (!signal.aborted) {
    try {
      const resumed = last ? { ...query, last_event_id: last } : query;
      const response = await send("GET", path, {
        query: resumed,
        signal,
        accept: "text/event-stream",
      });
      if (response.status === 204) return;
      linked(true);
      for await (const event of events(response.body)) {
        if (event.id) last = event.id;
        told(event);
        if (event.name === "end" || event.data.final) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status !== 0 && error.status !== 429) {
        if (error.status < 500) throw error;
      }
    }
    linked(false);
    await new Promise((go) => setTimeout(go, RETRY_MS));
  }
}

async function* events(body) {
  let held = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const frame of whole) {
      const event = { id: "", name: "message", data: null };
      for (const line of frame.split("\n")) {
        const at = line.indexOf(": ");
        const field = line.slice(0, at);
        if (field === "id") event.id = line.slice(at + 2);
        if (field === "event") event.name = line.slice(at + 2);
        if (field === "data") event.data = JSON.parse(line.slice(at + 2));
      }
      if (event.data) yield event;
    }
  }
}
