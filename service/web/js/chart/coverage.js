/** What a latency table covers: attention shapes as cells, MLP widths as the staircase they make. */

import { s } from "../core/dom.js";
import { milliseconds, plainMs } from "../core/figures.js";
import { axes } from "./axes.js";
import { frame } from "./frame.js";
import { mark } from "./marks.js";
import { extent, linear } from "./scale.js";

/**
 * Latency of MLP branches by their width: filled where the branch ran in busy company, hollow where alone.
 * @param {object[]} rows Rows of the coverage whose `kind` is `mlp`.
 */
export function mlpCoverage(rows) {
  return frame({
    label: `${rows.length} measured MLP widths and their latency`,
    height: () => 240,
    margin: { top: 26, right: 10, bottom: 38, left: 46 },
    draw(svg, plot) {
      const x = linear(extent(rows.map((row) => row.mlp_width), 0.03), [plot.x, plot.x + plot.w]);
      const [, high] = extent(rows.map((row) => row.latency_ms), 0.05);
      const y = linear([0, high], [plot.y + plot.h, plot.y]);
      svg.append(
        axes(plot, { x, y, xName: "MLP width", yName: `ms ${rows[0].provenance}`, xText: (v) => String(Math.round(v)) }),
        ...rows.map((row) => {
          const point = mark({ x: x(row.mlp_width), y: y(row.latency_ms), shape: "circle", size: 3, class: `mark-front ${row.company === "busy" ? "is-run" : "is-predicted"}` });
          point.append(s("title", null, `MLP ${row.mlp_width}: ${milliseconds(row.latency_ms)} ${row.provenance}, ${row.company}`));
          return point;
        }),
      );
    },
  });
}

/**
 * Shapes of attention branches: one column per number of heads, one row per pair of widths; stronger is slower.
 * @param {object[]} rows Rows of the coverage whose `kind` is `attn`.
 */
export function attnCoverage(rows) {
  const heads = unique(rows.map((row) => row.num_heads));
  const widths = uniquePairs(rows);
  const tall = Math.max(7, Math.min(18, 260 / widths.length));
  const slowest = Math.max(...rows.map((row) => row.latency_ms));
  return frame({
    label: `${rows.length} measured attention shapes`,
    height: () => widths.length * tall + 64,
    margin: { top: 26, right: 10, bottom: 38, left: 62 },
    draw(svg, plot) {
      const step = plot.w / heads.length;
      const known = new Map(rows.map((row) => [`${row.num_heads} ${row.qk_dim} ${row.v_dim}`, row]));
      const cells = widths.flatMap(([qk, v], k) => heads.map((count, j) => {
        const row = known.get(`${count} ${qk} ${v}`);
        const box = { x: plot.x + j * step + 1, y: plot.y + k * tall + 0.5, width: step - 2, height: tall - 1 };
        if (!row) return s("rect", { class: "cell-none", ...box });
        const cell = s("rect", { class: "cell", ...box }, s("title", null, `${count} heads, query and key ${qk}, value ${v}: ${milliseconds(row.latency_ms)} ${row.provenance}, ${row.company}`));
        cell.style.setProperty("fill-opacity", (0.2 + (0.8 * row.latency_ms) / slowest).toFixed(2));
        return [s("rect", { class: "cell-none", ...box }), cell];
      }));
      svg.append(...cells.flat(2), labels(plot, heads, widths, step, tall), s("text", { class: "axis-name", x: 2, y: 12 }, `query-key / value width; up to ${plainMs(slowest)} ms`));
    },
  });
}

function labels(plot, heads, widths, step, tall) {
  const every = Math.ceil(12 / tall);
  const bottom = plot.y + widths.length * tall;
  return s(
    "g",
    { class: "axes" },
    heads.map((count, j) => s("text", { x: plot.x + (j + 0.5) * step, y: bottom + 15, "text-anchor": "middle" }, String(count))),
    widths.map(([qk, v], k) => (k % every ? "" : s("text", { x: plot.x - 6, y: plot.y + (k + 0.5) * tall + 4, "text-anchor": "end" }, `${qk} / ${v}`))),
    s("text", { class: "axis-name", x: plot.x + plot.w, y: bottom + 31, "text-anchor": "end" }, "heads"),
  );
}

function unique(values) {
  return [...new Set(values)].sort((a, b) => a - b);
}

function uniquePairs(rows) {
  const pairs = new Map(rows.map((row) => [`${row.qk_dim} ${row.v_dim}`, [row.qk_dim, row.v_dim]]));
  return [...pairs.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}
