/** The room of a chart: an SVG as wide as its host, drawn again when the host changes its width. */

import { h, s, show } from "../core/dom.js";

/**
 * Build a chart.
 * @param {object} about
 * @param {string} about.label What it shows, for screen readers.
 * @param {(width: number) => number} about.height Height in pixels for a width.
 * @param {{top: number, right: number, bottom: number, left: number}} about.margin Room for axes.
 * @param {(svg: SVGElement, plot: {x: number, y: number, w: number, h: number, width: number, height: number}) => void}
 *   about.draw Called with an empty SVG and its plot area.
 * @param {string} [about.role] `img`, or `group` where things inside can be reached.
 * @returns {{node: HTMLElement, svg: SVGElement, redraw: () => void, destroy: () => void}}
 */
export function frame({ label, height, margin, draw, role = "img" }) {
  const svg = s("svg", { class: "chart-svg", role, "aria-label": label });
  const node = h("div", { class: "chart" }, svg);
  let width = 0;
  const redraw = () => {
    if (width < 40) return;
    const tall = height(width);
    svg.setAttribute("viewBox", `0 0 ${width} ${tall}`);
    svg.setAttribute("width", width);
    svg.setAttribute("height", tall);
    show(svg);
    draw(svg, {
      x: margin.left,
      y: margin.top,
      w: Math.max(10, width - margin.left - margin.right),
      h: Math.max(10, tall - margin.top - margin.bottom),
      width,
      height: tall,
    });
  };
  const observer = new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    redraw();
  });
  observer.observe(node);
  return { node, svg, redraw, destroy: () => observer.disconnect() };
}
