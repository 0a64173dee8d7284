/** What was kept of each block of the base, and what each block costs: one column per block. */

import { s } from "../core/dom.js";
import { plainMs } from "../core/figures.js";
import { frame } from "./frame.js";
import { linear, ticks } from "./scale.js";

const LANE = { attn: 92, mlp: 80, time: 84, gap: 26 };

/**
 * Build the picture.
 * @param {{blocks: object[], times: {blocks: object[], origin: string} | null, marked?: Set<number>}} about Blocks as the API
 *   gives them; those in `marked` are framed.
 */
export function blocksChart({ blocks, times, marked = new Set() }) {
  const lanes = LANE.attn + LANE.mlp + LANE.gap + (times ? LANE.time + LANE.gap : 0);
  return frame({
    label: "what was kept of each block of the base; the table below has the numbers",
    height: () => lanes + 64,
    margin: { top: 20, right: 6, bottom: 22, left: 82 },
    draw: (svg, plot) => draw(svg, plot, { blocks, times, marked }),
  });
}

function draw(svg, plot, { blocks, times, marked }) {
  const step = plot.w / blocks.length;
  const room = Math.min(step * 0.78, 44);
  const left = (k) => plot.x + k * step + (step - room) / 2;
  const mlpTop = plot.y + LANE.attn + LANE.gap;
  const timeTop = mlpTop + LANE.mlp + LANE.gap;
  const most = times ? Math.max(...times.blocks.map((t) => t.attn_ms + t.mlp_ms), 1e-9) : 1;
  const y = linear([0, most * 1.08], [timeTop + LANE.time, timeTop]);
  svg.append(
    laneName("attention", plot, plot.y, "heads: q, k | v"),
    laneName("MLP", plot, mlpTop, "width"),
    times ? laneName("latency", plot, timeTop, `ms ${times.origin}`) : "",
    times ? timeGrid(plot, y, most) : "",
  );
  blocks.forEach((block, k) => {
    const time = times?.blocks.find((t) => t.index === block.index);
    svg.append(
      s(
        "g",
        { class: block.kept ? "block" : "block is-gone" },
        s("title", null, blockText(block, time, times?.origin)),
        marked.has(block.index) ? s("rect", { class: "different", x: left(k) - 3, y: plot.y - 5, width: room + 6, height: lanesTall(times) + 10, rx: 2 }) : "",
        attention(block, left(k), plot.y, room),
        mlp(block, left(k), mlpTop, room),
        time ? bars(time, left(k), y, room) : "",
        step > 14 || k % 2 === 0
          ? s("text", { class: marked.has(block.index) ? "block-index is-different" : "block-index", x: left(k) + room / 2, y: plot.y + plot.h + 15, "text-anchor": "middle" }, String(block.index))
          : "",
      ),
    );
  });
  svg.append(s("text", { class: "axis-name", x: 2, y: plot.y + plot.h + 15 }, "block"));
}

function lanesTall(times) {
  return LANE.attn + LANE.gap + LANE.mlp + (times ? LANE.gap + LANE.time : 0);
}

function laneName(name, plot, top, about) {
  return s("g", null,
    s("text", { class: "lane-name", x: 2, y: top + 11 }, name),
    s("text", { class: "lane-about", x: 2, y: top + 24 }, ...about.split(": ").map((part, k) => s("tspan", { x: 2, dy: k ? 12 : 0 }, part))));
}

/** One cell per head of the base; its left half is as full as query and key are wide, its right half as value is. */
function attention(block, x, top, width) {
  if (!block.num_heads) return gone(x, top, width, LANE.attn);
  const heads = block.base_num_heads;
  const tall = LANE.attn / heads;
  const gap = tall > 5 ? 1.5 : 0.5;
  const half = (width - 1) / 2;
  return Array.from({ length: heads }, (_, k) => {
    const y = top + k * tall;
    const isKept = k < block.num_heads;
    const box = { y: y + gap / 2, height: tall - gap };
    return [
      s("rect", { class: "was", x, width, ...box }),
      isKept ? s("rect", { class: "kept", x, width: half * share(block.qk_dim, block.base_qk_dim), ...box }) : "",
      isKept ? s("rect", { class: "kept kept-v", x: x + half + 1, width: half * share(block.v_dim, block.base_v_dim), ...box }) : "",
    ];
  });
}

function mlp(block, x, top, width) {
  if (!block.mlp_width) return gone(x, top, width, LANE.mlp);
  const tall = LANE.mlp * share(block.mlp_width, block.base_mlp_width);
  return [
    s("rect", { class: "was", x, y: top, width, height: LANE.mlp }),
    s("rect", { class: "kept", x, y: top + LANE.mlp - tall, width, height: tall }),
  ];
}

function gone(x, y, width, height) {
  return [
    s("rect", { class: "gone", x, y, width, height }),
    s("path", { class: "gone-cross", d: `M${x + width / 2 - 4} ${y + height / 2 - 4}l8 8m0 -8l-8 8` }),
  ];
}

function bars(time, x, y, width) {
  const attn = y(0) - y(time.attn_ms);
  const rest = y(0) - y(time.mlp_ms);
  return [
    s("rect", { class: "time-mlp", x, y: y(0) - rest, width, height: rest }),
    s("rect", { class: "time-attn", x, y: y(0) - rest - attn, width, height: attn }),
  ];
}

function timeGrid(plot, y, most) {
  return s("g", { class: "axes" }, ticks(0, most, 3).map((value) => [
    s("path", { class: value ? "grid" : "axis", d: `M${plot.x} ${Math.round(y(value)) + 0.5}h${plot.w}` }),
    s("text", { x: plot.x - 5, y: y(value) + 4, "text-anchor": "end" }, String(Number(value.toPrecision(3)))),
  ]));
}

function blockText(block, time, origin) {
  const attn = block.num_heads
    ? `attention ${block.num_heads} of ${block.base_num_heads} heads, query and key ${block.qk_dim} of ${block.base_qk_dim}, value ${block.v_dim} of ${block.base_v_dim}`
    : "attention gone";
  const net = block.mlp_width ? `MLP ${block.mlp_width} of ${block.base_mlp_width}` : "MLP gone";
  const cost = time ? `; ${plainMs(time.attn_ms + time.mlp_ms)} ms ${origin}` : "";
  return `block ${block.index}: ${attn}; ${net}${cost}`;
}

function share(mine, theirs) {
  return theirs ? Math.min(1, mine / theirs) : 0;
}
