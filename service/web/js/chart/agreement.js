/** Predicted against measured latency of whole models, with the bands of 5 % and 10 %. */

import { h, s } from "../core/dom.js";
import { interval, milliseconds, percent, signed } from "../core/figures.js";
import { axes } from "./axes.js";
import { frame } from "./frame.js";
import { mark, markPath } from "./marks.js";
import { extent, linear, logTicks, logarithmic } from "./scale.js";
import { tooltip } from "./tooltip.js";

const BANDS = [0.1, 0.05];
const REACH = 12;
const WIDE = 20; // slowest over fastest: beyond, both axes are logarithmic, or the fast nets lie on one spot

/** Build the chart from rows of `/models` that have a prediction; held-out nets lie above fitted ones. */
export function agreementChart(found) {
  const rows = [...found].sort((a, b) => b.is_fitted - a.is_fitted);
  const tip = tooltip();
  let points = [];
  let ring = null;
  const room = frame({
    label: "predicted against measured latency of whole models",
    height: (width) => Math.min(width, 380),
    margin: { top: 26, right: 10, bottom: 38, left: 46 },
    draw(svg, plot) {
      const values = rows.flatMap((row) => [row.measured_latency_ms, row.predicted_latency_ms]);
      const isWide = Math.max(...values) > WIDE * Math.min(...values);
      const domain = isWide ? extent(values.map(Math.log10), 0.04).map((power) => 10 ** power) : extent(values, 0.04);
      const scale = isWide ? logarithmic : linear;
      const x = scale(domain, [plot.x, plot.x + plot.w]);
      const y = scale(domain, [plot.y + plot.h, plot.y]);
      const at = isWide ? { xTicks: logTicks(...domain), yTicks: logTicks(...domain), xText: short, yText: short } : {};
      points = rows.map((row) => ({ row, x: x(row.measured_latency_ms), y: y(row.predicted_latency_ms) }));
      ring = s("path", { class: "ring", d: markPath("circle", 7), visibility: "hidden" });
      svg.append(
        BANDS.map((share) => band(share, domain, x, y)).reduce((g, path) => (g.append(path), g), s("g", { "clip-path": "none" })),
        axes(plot, { x, y, xName: `${rows[0]?.provenance ?? "measured"}, ms`, yName: "predicted, ms", ...at }),
        s("path", { class: "identity", d: `M${x(domain[0])} ${y(domain[0])}L${x(domain[1])} ${y(domain[1])}` }),
        ...points.map((p) => mark({ ...p, shape: "circle", size: 3, class: p.row.is_fitted ? "mark-other is-predicted" : "mark-front is-run" })),
        ring,
      );
    },
  });
  room.svg.addEventListener("pointermove", (event) => {
    const box = room.svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const found = points.reduce((best, p) => (Math.hypot(p.x - px, p.y - py) < (best ? Math.hypot(best.x - px, best.y - py) : REACH) ? p : best), null);
    ring?.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return tip.close();
    ring.setAttribute("transform", `translate(${found.x} ${found.y})`);
    return tip.open(found.x, found.y, lines(found.row));
  });
  room.svg.addEventListener("pointerleave", () => { tip.close(); ring?.setAttribute("visibility", "hidden"); });
  return { node: h("div", { class: "chart-host" }, room.node, tip.node), destroy: room.destroy };
}

function short(value) {
  return String(Number(value.toPrecision(3)));
}

function lines(row) {
  const off = row.predicted_latency_ms / row.measured_latency_ms - 1;
  return [
    `${milliseconds(row.measured_latency_ms)} ${row.provenance}`,
    `${milliseconds(row.predicted_latency_ms)} predicted (${signed(100 * off, 2)} %)`,
    row.predicted_interval_ms ? `interval ${interval(row.predicted_interval_ms)}` : "no interval",
    row.is_fitted ? "the predictor was fitted to it" : "held out",
  ];
}

/** Between `1 - share` and `1 + share` times the measured latency, inside the plot. */
function band(share, [low, high], x, y) {
  const at = (ms, factor) => {
    const wanted = Math.min(Math.max(ms * factor, low), high);
    return `${x(Math.min(Math.max(wanted / factor, low), high)).toFixed(1)} ${y(wanted).toFixed(1)}`;
  };
  const path = `M${x(low)} ${y(low)}L${at(low, 1 + share)}L${at(high, 1 + share)}L${x(high)} ${y(high)}L${at(high, 1 - share)}L${at(low, 1 - share)}z`;
  return s("path", { class: `error-band error-band-${100 * share}`, d: path }, s("title", null, `within ${percent(share, 0)}`));
}
