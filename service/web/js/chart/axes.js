/** Axes with ticks, thin grid lines and a name with its unit. */

import { s } from "../core/dom.js";
import { decimalsOf, ticks } from "./scale.js";

/**
 * Draw both axes into a group.
 * @param {{x: number, y: number, w: number, h: number}} plot
 * @param {{x: Function, y: Function, xName: string, yName: string, xText?: (v: number, d: number) => string,
 *   yText?: (v: number, d: number) => string, xTicks?: number[], yTicks?: number[]}} about Scales and names.
 * @returns {SVGElement}
 */
export function axes(plot, { x, y, xName, yName, xText = fixed, yText = fixed, xTicks, yTicks }) {
  const across = xTicks ?? ticks(...sorted(x.domain), plot.w / 60);
  const up = yTicks ?? ticks(...sorted(y.domain), plot.h / 44);
  const [xDigits, yDigits] = [decimalsOf(across), decimalsOf(up)];
  const bottom = plot.y + plot.h;
  return s(
    "g",
    { class: "axes", "aria-hidden": "true" },
    up.map((value) => s("path", { class: "grid", d: `M${plot.x} ${round(y(value))}h${plot.w}` })),
    across.map((value) => s("path", { class: "grid", d: `M${round(x(value))} ${plot.y}v${plot.h}` })),
    s("path", { class: "axis", d: `M${plot.x} ${plot.y}V${bottom}H${plot.x + plot.w}` }),
    across.map((value) =>
      s("text", { x: round(x(value)), y: bottom + 15, "text-anchor": "middle" }, xText(value, xDigits)),
    ),
    up.map((value) =>
      s("text", { x: plot.x - 6, y: round(y(value)) + 4, "text-anchor": "end" }, yText(value, yDigits)),
    ),
    s("text", { class: "axis-name", x: plot.x + plot.w, y: bottom + 31, "text-anchor": "end" }, xName),
    s("text", { class: "axis-name", x: 2, y: plot.y - 9 }, yName),
  );
}

function fixed(value, digits) {
  return value.toFixed(digits);
}

function sorted([a, b]) {
  return a <= b ? [a, b] : [b, a];
}

function round(value) {
  return Math.round(value) + 0.5;
}
