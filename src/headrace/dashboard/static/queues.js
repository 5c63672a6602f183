/** Queues: how much waits and runs in each, its capacity, pause and resume. */

import { ask, get, part, post, put, session } from "./api.js";
import { complain, confirm, field, form, problemBox, tell } from "./dialog.js";
import { fill, h } from "./dom.js";
import { ago, count } from "./format.js";
import { keep } from "./live.js";
import { badge, button, empty, head, link, pager, table, usage } from "./parts.js";

export const title = "Queues";

export function show(main, { signal }) {
  const trouble = h("div");
  const pages = pager(() => look());
  const mayAct = session.mayRun;
  const listed = table(title, columns(mayAct, () => look()), ({ name }) => name, () =>
    empty("No queues", "A queue is there as soon as a job names it."),
  );
  main.append(
    head(
      title,
      "Jobs of a queue are given out by priority; its capacity says how many run at once.",
      mayAct && button("New queue", () => edit(null).then(look), { kind: "primary" }),
    ),
    trouble,
    listed.element,
    pages.element,
  );
  const look = keep(
    () => get("/api/v1/queues", { limit: 50, after: pages.cursor }, signal),
    ({ queues, next }) => {
      fill(trouble);
      listed.show(queues);
      pages.show(next, queues.length);
    },
    signal,
    { failed: (problem) => fill(trouble, problemBox(problem, look)) },
  );
}

function columns(mayAct, then) {
  return [
    {
      title: "Queue",
      cell: ({ name, description, paused }) => [
        link(name, `#/jobs?queue=${part(name)}`),
        paused && [" ", badge("paused")],
        description && h("small", {}, description),
      ],
    },
    { title: "Waiting", kind: "num", cell: ({ depth }) => count(depth) },
    {
      title: "Running",
      cell: ({ running, capacity }) =>
        capacity
          ? usage("", capacity - running, capacity)
          : h("span", { class: "num" }, capacity === 0 ? "0 of 0" : count(running)),
    },
    {
      title: "Backlog",
      kind: "num wide",
      cell: ({ backlog, backlog_max: most }) =>
        most === null ? count(backlog) : `${count(backlog)} of ${count(most)}`,
    },
    {
      title: "Changed",
      kind: "wide",
      cell: ({ changed_at: at, changed_by: by }) => (at ? [ago(at), ` by ${by}`] : "–"),
    },
    mayAct && {
      title: "",
      kind: "acts",
      cell: (queue) => [
        button(
          queue.paused ? "Resume" : "Pause",
          () => turn(queue).then(then),
          { focus: "turn", label: `${queue.paused ? "Resume" : "Pause"} ${queue.name}` },
        ),
        button("Edit", () => edit(queue).then(then), {
          focus: "edit",
          label: `Edit ${queue.name}`,
        }),
        queue.version > 0 &&
          button("Remove", () => remove(queue).then(then), {
            focus: "remove",
            kind: "danger quiet",
            label: `Remove the settings of ${queue.name}`,
          }),
      ],
    },
  ].filter(Boolean);
}

async function turn({ name, paused }) {
  const act = paused ? "resume" : "pause";
  try {
    await post(`/api/v1/queues/${part(name)}/${act}`);
    tell(`${name}: ${paused ? "jobs are given out again" : "no more jobs are given out"}`);
  } catch (problem) {
    complain(problem);
  }
}

async function remove({ name }) {
  const sure = await confirm({
    title: `Remove the settings of ${name}?`,
    text: "It goes back to the configuration. A queue that has jobs stays.",
    act: "Remove",
    danger: true,
  });
  if (!sure) return;
  try {
    await ask("DELETE", `/api/v1/queues/${part(name)}`);
    tell(`${name}: settings removed`);
  } catch (problem) {
    complain(problem);
  }
}

/** A number of jobs, or null for an empty field. */
export function numberOf(text) {
  return text === "" ? null : Number(text);
}

async function edit(queue) {
  const name = field("name", "Name", { required: true, maxlength: 200 });
  const capacity = field("capacity", "Capacity", {
    type: "number",
    min: 0,
    value: queue?.capacity ?? "",
    hint: "Jobs that run at once; empty: no limit",
  });
  const backlog = field("backlog_max", "Backlog at most", {
    type: "number",
    min: 0,
    value: queue?.backlog_max ?? "",
    hint: "Jobs that may wait; more are refused. Empty: no limit",
  });
  const description = field("description", "Description", { value: queue?.description ?? "" });
  const made = await form({
    title: queue ? `Edit ${queue.name}` : "New queue",
    fields: [...(queue ? [] : [name]), capacity, backlog, description],
    act: queue ? "Save" : "Make it",
    send: (values) =>
      put(
        `/api/v1/queues/${part(queue?.name ?? values.name)}`,
        {
          capacity: numberOf(values.capacity),
          backlog_max: numberOf(values.backlog_max),
          paused: queue?.paused ?? false,
          description: values.description,
        },
        queue?.version ?? 0,
      ),
  });
  if (made) tell(`${made.name}: saved`);
}
