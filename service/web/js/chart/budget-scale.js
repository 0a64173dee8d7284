/** One latency scale with the budget: what was run, what was predicted, and where a real board is expected. */

import { s } from "../core/dom.js";
import { isNumber, milliseconds, plainMs } from "../core/figures.js";
import { fenceOf } from "./fence.js";
import { frame } from "./frame.js";
import { extent, linear, ticks } from "./scale.js";

const ROW = 30;

/**
 * Build the scale.
 * @param {object} about
 * @param {number | null} about.budgetMs
 * @param {{name: string, class: string, low: number, high: number, marks: {ms: number, text: string}[]}[]} about.rows
 *   Bands from `low` to `high`, each with marks inside.
 */
export function budgetScale({ budgetMs, rows }) {
  const values = [...rows.flatMap((row) => [row.low, row.high, ...row.marks.map((m) => m.ms)]), ...(isNumber(budgetMs) ? [budgetMs] : [])];
  return frame({
    label: rows.map((row) => `${row.name} ${plainMs(row.low)} to ${plainMs(row.high)} ms`).join("; "),
    height: () => rows.length * ROW + 60,
    margin: { top: 26, right: 14, bottom: 34, left: 84 },
    draw(svg, plot) {
      const fence = fenceOf(values);
      const x = linear(extent(values.filter((ms) => ms <= fence), 0.08), [plot.x, plot.x + plot.w]);
      svg.append(axis(plot, x), ...rows.map((row, k) => band(row, plot.y + k * ROW + ROW / 2, x, fence)));
      if (isNumber(budgetMs) && budgetMs <= fence) svg.append(budget(plot, x, budgetMs));
    },
  });
}

function axis(plot, x) {
  const bottom = plot.y + plot.h;
  return s(
    "g",
    { class: "axes" },
    ticks(...x.domain, plot.w / 70).map((value) => [
      s("path", { class: "grid", d: `M${x(value)} ${plot.y}V${bottom}` }),
      s("text", { x: x(value), y: bottom + 15, "text-anchor": "middle" }, String(Number(value.toPrecision(4)))),
    ]),
    s("path", { class: "axis", d: `M${plot.x} ${bottom}H${plot.x + plot.w}` }),
    s("text", { class: "axis-name", x: plot.x + plot.w, y: bottom + 30, "text-anchor": "end" }, "latency, ms"),
  );
}

/** A band that reaches beyond the axis ends at it, with its figure. */
function band(row, y, x, fence) {
  const end = x(x.domain[1]);
  const [from, to] = [row.low, row.high].map((ms) => (ms > fence ? end : x(ms)));
  return s(
    "g",
    null,
    s("title", null, `${row.name}: ${milliseconds(row.low)} to ${milliseconds(row.high)}`),
    s("text", { class: "lane-name", x: 2, y: y + 4 }, row.name),
    s("rect", { class: `band ${row.class}`, x: from, y: y - 6, width: Math.max(2, to - from), height: 12, rx: 2 }),
    row.high > fence && s("text", { class: "beyond-text", x: end, y: y + 17, "text-anchor": "end" }, `${milliseconds(row.high)} →`),
    row.marks.filter((m) => m.ms <= fence).map((m) => s("path", { class: "band-mark", d: `M${x(m.ms)} ${y - 9}v18` }, s("title", null, `${m.text} ${milliseconds(m.ms)}`))),
  );
}

function budget(plot, x, ms) {
  const at = x(ms);
  const isRight = at > plot.x + plot.w - 60;
  return s(
    "g",
    { class: "budget-mark" },
    s("rect", { class: "infeasible", x: at, y: plot.y, width: Math.max(0, plot.x + plot.w - at), height: plot.h }),
    s("path", { class: "budget-stroke", d: `M${at} ${plot.y - 6}V${plot.y + plot.h}` }),
    s("text", { class: "budget-name", x: at, y: plot.y - 11, "text-anchor": isRight ? "end" : "middle" }, `budget ${milliseconds(ms)}`),
  );
}
