/** What part of latency and accuracy the front's chart shows. */

import { isNumber } from "../core/figures.js";
import { latencyOf } from "../core/latency.js";
import { FAR, fenceOf } from "./fence.js";
import { extent, linear } from "./scale.js";

const ZOOM_TOP1 = 0.25; // accuracy below the best that zooming keeps in sight
const ZOOM_BUDGET = 1.2; // times the slowest point: a budget that near stays in sight too

/**
 * Choose both scales.
 * @param {{front: object[], others: object[], references: object[], budgetMs: number | null, zoom: string}} data
 * @param {{x: number, y: number, w: number, h: number}} plot
 * @returns {{x: Function, y: Function, fence: number}} Rows slower than `fence` milliseconds are beyond the axis.
 */
export function frontScales({ front, others, references, budgetMs, zoom }, plot) {
  const isZoomed = zoom === "front" && front.length > 0;
  const rows = isZoomed ? goodPart(front) : [...front, ...others, ...references];
  const fence = fenceOf(rows.map(latencyOf));
  const times = rows.map(latencyOf).filter((ms) => isNumber(ms) && ms <= fence);
  const sure = isZoomed ? rows : [...front, ...references]; // whose intervals are drawn
  const shares = [...rows.map((row) => row.top1), ...sure.flatMap((row) => row.top1_interval ?? [])].filter(isNumber);
  const most = times.length ? Math.max(...times) : Infinity;
  if (isNumber(budgetMs) && budgetMs <= most * (isZoomed ? ZOOM_BUDGET : FAR)) times.push(budgetMs);
  const [low, high] = times.length ? extent(times, 0.06) : [0, 10];
  const [worst, best] = shares.length ? extent(shares, 0.08) : [0, 1];
  return {
    x: linear([Math.max(0, low), high], [plot.x, plot.x + plot.w]),
    y: linear([Math.max(0, worst), Math.min(1.005, best)], [plot.y + plot.h, plot.y]),
    fence: isZoomed ? Infinity : fence,
  };
}

/** The part of a front that people choose from: not more than `ZOOM_TOP1` below its best. */
function goodPart(front) {
  const best = front.at(-1).top1;
  return front.filter((row) => row.top1 >= best - ZOOM_TOP1);
}

/** A front is stairs: between two points the faster one is the best there is. */
export function stairs(front, plot) {
  if (!front.length) return "";
  const [first, ...rest] = front;
  const start = `M${first.x.toFixed(1)} ${first.y.toFixed(1)}`;
  return `${start}${rest.map((p) => `H${p.x.toFixed(1)}V${p.y.toFixed(1)}`).join("")}H${plot.x + plot.w}`;
}
