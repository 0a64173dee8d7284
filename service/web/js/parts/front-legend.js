/** What the marks of the front mean; only those that are there. */

import { fenceOf } from "../chart/fence.js";
import { markPath } from "../chart/marks.js";
import { h, s } from "../core/dom.js";
import { whole } from "../core/figures.js";
import { isRun, latencyOf, originOf } from "../core/latency.js";

/** Build the legend for the rows and references shown; `zoom` as of the chart. */
export function frontLegend(rows, references, zoom) {
  const times = [...rows, ...references].map(latencyOf);
  const fence = zoom === "front" ? Infinity : fenceOf(times);
  const beyond = times.filter((ms) => ms > fence).length;
  const origins = new Set(rows.map(originOf));
  const run = [...origins].filter((word) => !word.startsWith("predicted"));
  const predicted = [...origins].filter((word) => word.startsWith("predicted"));
  const splits = [...new Set(rows.map((row) => row.split).filter(Boolean))].sort();
  const shape = splits.includes("test") ? "circle" : "square";
  return h(
    "div",
    null,
    h(
      "ul",
      { class: "legend", "aria-label": "Legend" },
      run.length > 0 && item(shape, "mark-front is-run", `filled: ${run.sort().join(", ")}`),
      predicted.length > 0 && item("square", "mark-front is-predicted", `hollow: ${predicted.sort().join(", ")}`),
      splits.includes("test") && item("circle", "mark-other is-run", "circle: top1 on the test split"),
      splits.some((split) => split !== "test") && item("square", "mark-other is-run", `square: top1 on the ${splits.filter((split) => split !== "test").join(", ")} split`),
      [...rows, ...references].some((row) => row.top1_interval) && bar(`bar: 95\u00a0% interval of the accuracy`),
      beyond > 0 && item("arrow", "mark-front is-run", `arrow: ${beyond === 1 ? "one" : whole(beyond)} beyond the axis, which would press the others together`),
      references.map((row) => item("star", `mark-star ${isRun(row) ? "is-run" : "is-predicted"}`, `${row.label}${row.kind === "base" ? " with a head for the classes" : ""}, ${row.split} split`)),
    ),
    splits.length > 1 && h("p", { class: "small muted" }, "Two splits are two sets of images: a circle and a square do not compare to the last percent."),
  );
}

function bar(text) {
  return h(
    "li",
    null,
    s("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, s("path", { class: "error-bar", d: "M-3 -7h6m-3 0v14m-3 0h6" })),
    text,
  );
}

function item(shape, name, text) {
  return h(
    "li",
    null,
    s("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" }, s("path", { class: `mark ${name}`, d: markPath(shape, shape === "star" ? 6 : 4.5) })),
    text,
  );
}
