/** Proposals of a search: predicted latency against KL to the base, with the budget. */

import { h, s } from "../core/dom.js";
import { isNumber, milliseconds, plainMs, share, wilson } from "../core/figures.js";
import { axes } from "./axes.js";
import { FAR, fenceOf } from "./fence.js";
import { frame } from "./frame.js";
import { arrowOf, mark, markPath } from "./marks.js";
import { extent, linear, logTicks } from "./scale.js";
import { tooltip } from "./tooltip.js";

const FEW = 3; // points beyond the axis that are labelled
const REACH = 12;

/** Build the chart; `update` takes trials and the budget. */
export function trialsChart() {
  let data = { trials: [], budgetMs: null };
  let points = [];
  let ring = null;
  const tip = tooltip();
  const room = frame({
    label: "scored subnets: KL to the base against predicted latency",
    height: () => 210,
    margin: { top: 26, right: 12, bottom: 38, left: 52 },
    draw,
  });

  function draw(svg, plot) {
    const scored = data.trials.filter((t) => isNumber(t.kl) && isNumber(t.predicted_latency_ms));
    if (!scored.length) {
      svg.append(s("text", { class: "chart-empty", x: plot.x + plot.w / 2, y: plot.y + plot.h / 2, "text-anchor": "middle" }, "no subnet scored yet"));
      return;
    }
    const fence = fenceOf(scored.map((t) => t.predicted_latency_ms));
    const near = scored.map((t) => t.predicted_latency_ms).filter((ms) => ms <= fence);
    const isNear = isNumber(data.budgetMs) && data.budgetMs <= FAR * Math.max(...near);
    const times = isNear ? [...near, data.budgetMs] : near;
    const x = linear(extent(times, 0.05), [plot.x, plot.x + plot.w]);
    const [low, high] = extent(scored.map((t) => Math.log10(Math.max(t.kl, 1e-6))), 0.08);
    const y = linear([low, high], [plot.y + plot.h, plot.y]);
    const height = (trial) => y(Math.log10(Math.max(trial.kl, 1e-6)));
    points = scored.map((row) => {
      const beyond = row.predicted_latency_ms > fence;
      return { row, x: beyond ? plot.x + plot.w - 4 : x(row.predicted_latency_ms), y: height(row), beyond };
    });
    const front = points.filter((p) => p.row.is_on_front).sort((a, b) => a.x - b.x);
    ring = s("path", { class: "ring", d: markPath("circle", 7), visibility: "hidden" });
    svg.append(
      axes(plot, { x, y, xName: "latency predicted, ms", yName: "KL to the base, nats", yTicks: logTicks(10 ** low, 10 ** high).map(Math.log10), yText: (v) => String(Number((10 ** v).toPrecision(2))) }),
      isNear ? budget(plot, x(data.budgetMs)) : "",
      s("path", { class: "front-path", d: front.map((p, k) => (k ? `H${p.x}V${p.y}` : `M${p.x} ${p.y}`)).join("") }),
      ...points.map((p) => mark({ ...p, shape: p.beyond ? "arrow" : "square", size: 3, class: p.row.is_on_front ? "mark-front is-predicted" : "mark-other is-predicted" })),
      ...points.filter((p) => p.beyond).slice(0, FEW).map((p) => arrowOf(p, plainMs(p.row.predicted_latency_ms))),
      ring,
    );
  }

  room.svg.addEventListener("pointermove", (event) => {
    const box = room.svg.getBoundingClientRect();
    const far = (p) => Math.hypot(p.x - event.clientX + box.left, p.y - event.clientY + box.top);
    const found = points.filter((p) => far(p) < REACH).sort((a, b) => far(a) - far(b))[0];
    ring?.setAttribute("visibility", found ? "visible" : "hidden");
    if (!found) return tip.close();
    ring.setAttribute("transform", `translate(${found.x} ${found.y})`);
    return tip.open(found.x, found.y, [
      `trial ${found.row.number} (${found.row.origin}), ${found.row.state}`,
      `KL ${found.row.kl.toFixed(4)}`,
      `${share(found.row.top1_search, wilson(found.row.top1_search, found.row.num_images))} top1 of ${found.row.num_images} search images`,
      `${milliseconds(found.row.predicted_latency_ms)} predicted`,
    ]);
  });
  room.svg.addEventListener("pointerleave", () => tip.close());

  return {
    node: h("div", { class: "chart-host" }, room.node, tip.node),
    update(next) {
      data = next;
      room.redraw();
    },
    destroy: room.destroy,
  };
}

function budget(plot, at) {
  return s("g", null,
    s("rect", { class: "infeasible", x: at, y: plot.y, width: Math.max(0, plot.x + plot.w - at), height: plot.h }),
    s("path", { class: "budget-stroke", d: `M${at} ${plot.y}v${plot.h}` }));
}
