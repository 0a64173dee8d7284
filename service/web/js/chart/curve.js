/** A curve over steps, drawn as stairs or as a line, with its last value named. */

import { s } from "../core/dom.js";
import { axes } from "./axes.js";
import { frame } from "./frame.js";
import { extent, linear } from "./scale.js";

/**
 * Build the chart.
 * @param {object} about
 * @param {string} about.label
 * @param {string} about.xName
 * @param {string} about.yName
 * @param {boolean} [about.isStairs]
 * @param {(v: number, digits: number) => string} [about.yText]
 * @param {number} [about.tall] Height in pixels.
 * @returns {{node: HTMLElement, update: (points: [number, number][], marks?: [number, number][]) => void, destroy: () => void}}
 */
export function curve({ label, xName, yName, isStairs = false, yText, tall = 210 }) {
  let points = [];
  const room = frame({
    label,
    height: () => tall,
    margin: { top: 26, right: 12, bottom: 38, left: 52 },
    draw(svg, plot) {
      if (!points.length) {
        svg.append(s("text", { class: "chart-empty", x: plot.x + plot.w / 2, y: plot.y + plot.h / 2, "text-anchor": "middle" }, "nothing yet"));
        return;
      }
      const last = points.at(-1);
      const x = linear([Math.min(points[0][0], last[0] - 1), last[0]], [plot.x, plot.x + plot.w]);
      const y = linear(extent(points.map((p) => p[1]), 0.08), [plot.y + plot.h, plot.y]);
      const at = ([a, b]) => [x(a).toFixed(1), y(b).toFixed(1)];
      const [first, ...rest] = points.map(at);
      const path = rest.map(([a, b]) => (isStairs ? `H${a}V${b}` : `L${a} ${b}`)).join("");
      const end = at(last);
      svg.append(
        axes(plot, { x, y, xName, yName, ...(yText ? { yText } : {}), xText: (v) => String(Math.round(v)) }),
        s("path", { class: "curve", d: `M${first.join(" ")}${path}` }),
        s("circle", { class: "curve-end", cx: end[0], cy: end[1], r: 3.5 }),
      );
    },
  });
  return {
    node: room.node,
    update(next) {
      points = next;
      room.redraw();
    },
    destroy: room.destroy,
  };
}
