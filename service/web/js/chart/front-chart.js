/** Accuracy against latency: the front, other subnets, base and small model, and the budget. */

import { h, s } from "../core/dom.js";
import { isNumber, percent, plainMs, share } from "../core/figures.js";
import { isRun, latencyOf } from "../core/latency.js";
import { routeTo } from "../core/route.js";
import { axes } from "./axes.js";
import { budgetLine } from "./budget-line.js";
import { frame } from "./frame.js";
import { frontScales, stairs } from "./front-scales.js";
import { arrowOf, mark, markPath, shapeOf } from "./marks.js";
import { tooltip } from "./tooltip.js";

const FEW = 3; // points beyond the axis that are all labelled
const REACH = 18; // pixels around a point that count as on it

/**
 * Build the chart.
 * @param {object} handlers
 * @param {(ms: number, isFinal: boolean) => void} handlers.onBudget
 * @param {(id: string | null) => void} handlers.onHover A subnet is pointed at, or none.
 * @param {(ms: number) => string} handlers.describe What a budget buys, in words.
 * @param {(row: object) => unknown[]} handlers.lines What the tooltip says about a row.
 */
export function frontChart({ onBudget, onHover, describe, lines }) {
  let data = { front: [], others: [], references: [], budgetMs: null, zoom: "all" };
  let points = [];
  let budget = null;
  let ring = null;
  let whisker = null;
  let acrossOf = null;
  let hovered = null;
  const tip = tooltip();
  const room = frame({
    label: "accuracy (top1) against latency in milliseconds",
    role: "group",
    height: (width) => Math.round(Math.min(Math.max(width * 0.52, 280), 460)),
    margin: { top: 40, right: 14, bottom: 38, left: 50 },
    draw,
  });
  const node = h("div", { class: "chart-host" }, room.node, tip.node);

  function draw(svg, plot) {
    const { x, y, fence } = frontScales(data, plot);
    const inside = (p) => p.x >= plot.x - 1 && p.x <= plot.x + plot.w + 1 && p.y >= plot.y - 1 && p.y <= plot.y + plot.h + 1;
    const place = (row, extra) => {
      const beyond = latencyOf(row) > fence; // drawn as an arrow where the axis ends
      return { row, x: beyond ? plot.x + plot.w - 4 : x(latencyOf(row)), y: y(row.top1), beyond, ...extra };
    };
    const front = data.front.map((row) => place(row, { onFront: true }));
    const others = data.others.map((row) => place(row)).filter(inside);
    const references = data.references.map((row) => place(row, { reference: true })).filter(inside);
    points = [...others, ...front.filter(inside), ...references];
    ring = s("path", { class: "ring", d: markPath("circle", 9), visibility: "hidden" });
    whisker = s("path", { class: "whisker" });
    acrossOf = x;
    budget = isNumber(data.budgetMs)
      ? budgetLine({ plot, x, value: data.budgetMs, onChange: onBudget, describe })
      : null;
    svg.append(
      axes(plot, { x, y, xName: "latency, ms", yName: "top1", yText: (v, d) => percent(v, Math.max(0, d - 2)) }),
      s("g", { "aria-hidden": "true" }, others.map((p) => mark({ ...p, shape: p.beyond ? "arrow" : shapeOf(p.row.split), size: 3, class: classOf(p) }))),
      s("g", { "aria-hidden": "true" }, [...front, ...references].filter(inside).map((p) => errorBar(p, y, plot))),
      s("path", { class: "front-path", d: stairs(front.filter(inside), plot) }),
      frontLinks(front.filter(inside)),
      s("g", { "aria-hidden": "true" }, references.map((p) => starOf(p, plot))),
      s("g", { "aria-hidden": "true" }, labelled(points).map((p) => arrowOf(p, plainMs(latencyOf(p.row))))),
      whisker, ring,
    );
    if (budget) svg.insertBefore(budget.node, svg.firstChild.nextSibling);
    if (budget) svg.append(budget.node.lastChild); // the handle lies above the points, the shade below
    if (hovered) highlight(hovered);
  }

  room.svg.addEventListener("pointermove", (event) => {
    if (event.target.closest?.(".budget")) return point(null);
    return point(nearest(event));
  });
  room.svg.addEventListener("pointerleave", () => point(null));
  room.svg.addEventListener("click", (event) => {
    if (event.target.closest?.("a, .budget")) return;
    const found = nearest(event);
    if (found?.row.subnet_id) location.hash = routeTo(["subnets", found.row.subnet_id]);
  });

  function nearest(event) {
    const box = room.svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = REACH;
    for (const p of points) {
      const distance = Math.hypot(p.x - px, p.y - py) - (p.onFront || p.reference ? 2 : 0);
      if (distance < least) [best, least] = [p, distance];
    }
    return best;
  }

  function point(found) {
    const id = found ? idOf(found.row) : null;
    if (id === hovered) return;
    highlight(id);
    onHover(found?.row.subnet_id ?? null);
  }

  function highlight(id) {
    hovered = id;
    const found = id && points.find((p) => idOf(p.row) === id);
    room.svg.classList.toggle("is-pointing", Boolean(found));
    if (!found) {
      ring?.setAttribute("visibility", "hidden");
      whisker?.removeAttribute("d");
      tip.close();
      return;
    }
    ring.setAttribute("visibility", "visible");
    ring.setAttribute("transform", `translate(${found.x} ${found.y})`);
    const ends = found.beyond ? null : found.row.predicted_interval_ms?.map(acrossOf);
    if (ends) whisker.setAttribute("d", `M${ends[0]} ${found.y - 4}v8m0 -4H${ends[1]}m0 -4v8`);
    else whisker.removeAttribute("d");
    tip.open(found.x, found.y, lines(found.row));
  }

  function frontLinks(front) {
    const links = front.map((p, index) =>
      s(
        "a",
        {
          href: routeTo(["subnets", p.row.subnet_id]), class: "front-link", tabindex: index ? -1 : 0,
          "aria-label": `${share(p.row.top1, p.row.top1_interval)} top1 at ${plainMs(latencyOf(p.row))} ms`,
          on: { focus: () => point(p), blur: () => point(null) },
        },
        mark({ ...p, shape: p.beyond ? "arrow" : shapeOf(p.row.split), size: 5, class: classOf(p) }),
      ),
    );
    const group = s("g", { role: "group", "aria-label": "Pareto front; arrow keys go along it" }, links);
    group.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      const next = step && links[links.indexOf(document.activeElement) + step];
      if (!next) return;
      event.preventDefault();
      links.forEach((link) => link.setAttribute("tabindex", link === next ? 0 : -1));
      next.focus();
    });
    return group;
  }

  return {
    node,
    /** Draw other data: `{front, others, references, budgetMs, zoom}`. */
    update(next) {
      data = { ...data, ...next };
      room.redraw();
    },
    /** Move the budget line only. */
    setBudget(ms) {
      data.budgetMs = ms;
      budget?.set(ms);
    },
    highlight,
    destroy: room.destroy,
  };
}

function idOf(row) {
  return row.subnet_id ?? `reference:${row.kind}`;
}

/** Points beyond the axis whose latency is written beside them: the front's, the references, and one of a few others. */
function labelled(points) {
  const beyond = points.filter((p) => p.beyond);
  return beyond.length <= FEW ? beyond : beyond.filter((p) => p.onFront || p.reference);
}

function classOf(p) {
  return `${p.onFront ? "mark-front" : "mark-other"} ${isRun(p.row) ? "is-run" : "is-predicted"}`;
}

function starOf(p, plot) {
  const isRight = p.x > plot.x + plot.w - 90;
  const room = p.beyond ? -9 : 0; // of the arrow behind it
  return s(
    "g",
    null,
    mark({ ...p, x: p.x + room, shape: "star", size: 9, class: `mark-star ${isRun(p.row) ? "is-run" : "is-predicted"}` }),
    s(
      "text",
      { class: "star-name", x: p.x + room + (isRight ? -13 : 13), y: p.y + 4, "text-anchor": isRight ? "end" : "start" },
      p.row.label,
    ),
  );
}

/** The 95 % interval of an accuracy, cut off where the plot ends. */
function errorBar({ x, row }, y, plot) {
  if (!row.top1_interval) return null;
  const [low, high] = row.top1_interval.map((value) => Math.min(Math.max(y(value), plot.y), plot.y + plot.h));
  return s("path", { class: "error-bar", d: `M${(x - 3).toFixed(1)} ${high.toFixed(1)}h6m-3 0V${low.toFixed(1)}m-3 0h6` });
}
