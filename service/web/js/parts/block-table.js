/** The picture of the blocks in numbers. */

import { h } from "../core/dom.js";
import { plainMs } from "../core/figures.js";
import { tableRoom } from "./panel.js";

/** Build a table behind a fold; `times` as from `blockTimes`, or null. */
export function blockTable(blocks, times) {
  const cost = new Map((times?.blocks ?? []).map((time) => [time.index, time]));
  const of = (mine, theirs) => (mine ? `${mine} of ${theirs}` : "–");
  return h(
    "details",
    { class: "fold" },
    h("summary", null, "the same in numbers"),
    tableRoom("Blocks",
      h(
        "table",
        { class: "table table-lines" },
        h("thead", null, h("tr", null, ["block", "heads", "query and key", "value", "MLP width", ...(times ? [`attention, ms ${times.origin}`, `MLP, ms ${times.origin}`] : [])]
          .map((name, k) => h("th", { scope: "col", class: k ? "number" : "" }, name)))),
        h("tbody", null, blocks.map((block) => {
          const time = cost.get(block.index);
          const cells = [
            of(block.num_heads, block.base_num_heads), of(block.qk_dim, block.base_qk_dim), of(block.v_dim, block.base_v_dim),
            of(block.mlp_width, block.base_mlp_width), ...(times ? [plainMs(time?.attn_ms), plainMs(time?.mlp_ms)] : []),
          ];
          return h("tr", null, h("th", { scope: "row" }, block.index, !block.kept && " (gone)"), cells.map((cell) => h("td", { class: "number" }, cell)));
        })),
      ),
    ),
  );
}
