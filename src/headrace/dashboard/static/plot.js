/** A plot over time, drawn by uPlot; its legend tells the values under the pointer, or the latest. */

import { fill, h, setText } from "./dom.js";
import uPlot from "./uplot.js";

const HEIGHT = 168;
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power)).flat();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/**
 * Makes a plot. `series`: name, label, and the custom property with the colour. `format` shows a
 * value; `whole`: there are no parts of one. `show` takes columns: instants in seconds, then one list
 * for each series; and the first and last instant of the axis.
 */
export function plot({ title, unit, series, format, whole = false, signal }) {
  const values = series.map(() => h("span", { class: "num" }, "–"));
  const legend = h(
    "ul",
    { class: "legend" },
    series.map(({ label, line }, at) =>
      h("li", {}, h("span", { class: `swatch ${line}`, "aria-hidden": "true" }), label, " ", values[at]),
    ),
  );
  const canvas = h("div", { class: "canvas", role: "img" });
  const element = h(
    "figure",
    { class: "plot panel" },
    h("figcaption", {}, h("h2", {}, title), h("span", { class: "unit" }, unit), legend),
    canvas,
  );
  let data = [[], ...series.map(() => [])];
  let span = [0, 1];
  let drawn = null;
  let pointed = null;

  function tell() {
    const at = pointed ?? data[0].length - 1;
    series.forEach((_, number) => setText(values[number], format(data[number + 1][at] ?? null)));
  }

  function describe() {
    const last = series.map(({ label }, number) => {
      return `${label} ${format(data[number + 1].at(-1) ?? null)}`;
    });
    canvas.setAttribute("aria-label", `${title}, now: ${last.join(", ")}`);
  }

  function draw() {
    drawn?.destroy();
    fill(canvas);
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--soft"), font: "11px system-ui, sans-serif", grid, ticks: grid };
    const options = {
      width: Math.max(200, canvas.clientWidth),
      height: HEIGHT,
      padding: [8, 26, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: { range: () => span },
        y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] },
      },
      axes: [
        { ...axis, space: 70, size: 30, values: (_, splits) => splits.map(clockOf) },
        {
          ...axis,
          ...(whole && { incrs: WHOLE }),
          size: 58,
          space: 32,
          values: (_, splits) => splits.map(format),
        },
      ],
      series: [
        {},
        ...series.map(({ label, line }) => ({
          label,
          stroke: colour(`--plot-${line}`),
          width: 1.6,
          fill: line === "fill" ? colour("--plot-fill-below") : undefined,
          spanGaps: false,
          points: { show: true, size: 4, filter: alone },
        })),
      ],
      hooks: {
        setCursor: [
          (made) => {
            pointed = made.cursor.idx ?? null;
            tell();
          },
        ],
      },
    };
    drawn = new uPlot(options, data, canvas);
  }

  new ResizeObserver(() => {
    if (drawn && canvas.clientWidth > 0) {
      drawn.setSize({ width: canvas.clientWidth, height: HEIGHT });
    }
  }).observe(canvas);
  document.addEventListener("themed", draw, { signal });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => drawn?.destroy());

  return {
    element,
    show(columns, ends) {
      data = columns;
      span = ends;
      if (drawn) drawn.setData(data);
      else draw();
      if (pointed === null) tell();
      describe();
    },
  };
}

/** Which values have none beside them: no line shows them. */
function alone(drawn, number) {
  const values = drawn.data[number];
  const found = [];
  values.forEach((value, at) => {
    if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) {
      found.push(at);
    }
  });
  return found;
}

function clockOf(seconds) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const minutes = `${two(at.getHours())}:${two(at.getMinutes())}`;
  return at.getSeconds() ? `${minutes}:${two(at.getSeconds())}` : minutes;
}
