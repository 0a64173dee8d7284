/** Two subnets side by side: figures with their differences, what was kept of each block, and how to make each again. */

import { blocksChart } from "../chart/blocks.js";
import { get, pathOf } from "../core/api.js";
import { copyButton } from "../core/copy.js";
import { h } from "../core/dom.js";
import { classesText, count, interval, isNumber, milliseconds, pixels, points, share, shortId, signed } from "../core/figures.js";
import { originOf } from "../core/latency.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge, verdictBadge } from "../parts/badges.js";
import { commandLine, emptyNote } from "../parts/notes.js";
import { head, panel, tableRoom } from "../parts/panel.js";

const WIDTHS = [["num_heads", "heads"], ["qk_dim", "query and key"], ["v_dim", "value"], ["mlp_width", "MLP width"]];

/** Build the view of `#/compare/ID/ID`. */
export async function view({ path, signal }) {
  const [, first, second] = path;
  if (!second) return { title: "Compare", node: h("div", null, head("Compare"), emptyNote("Pick two subnets in the table of the front, or with:", `nuwa compare ${first ?? "ID"} ID`)) };
  const { subnets, differences } = await get(pathOf("comparisons", first, second), {}, { signal });
  const marked = new Set(differences.blocks.map((block) => block.index));
  const pictures = subnets.map((subnet) => blocksChart({ blocks: subnet.blocks, times: null, marked }));
  signal.addEventListener("abort", () => pictures.forEach((picture) => picture.destroy()), { once: true });
  const names = subnets.map((subnet, k) => `${"AB"[k]}, ${shortId(subnet.subnet_id)}`);
  const node = h(
    "div",
    { class: "stack" },
    head(`Compare ${shortId(first)} with ${shortId(second)}`, {
      crumb: h("a", { href: routeTo(["front"], { task: subnets[0].task_id, device: subnets[0].latencies[0]?.device, compare: first }) }, "Front: pick another"),
      tools: [h("a", { class: "button button-small", href: routeTo(["compare", second, first]) }, "swap"), copyButton("copy link", () => location.href)],
    }),
    panel("Figures", figures(subnets, differences)),
    h("div", { class: "columns" }, subnets.map((subnet, k) => panel(`What was kept by ${names[k]}`, pictures[k].node, { note: keptNote(subnet) }))),
    panel("Blocks that differ", blocksTable(subnets, differences), { note: `${marked.size} of ${Math.max(...subnets.map((s) => s.blocks.length))}` }),
    h("div", { class: "columns" }, subnets.map((subnet, k) => panel(`Make ${names[k]} again`, subnet.commands.map((one) => commandLine(one.command, one.what))))),
  );
  return { title: `${shortId(first)} and ${shortId(second)}`, node };
}

function figures(subnets, differences) {
  const rows = [
    ["subnet", ...subnets.map((s) => h("a", { class: "mono", href: routeTo(["subnets", s.subnet_id]) }, shortId(s.subnet_id))), ""],
    ["base", ...subnets.map((s) => s.base), differences.is_same_base ? "the same" : h("strong", null, "two bases")],
    ["task", ...subnets.map((s) => `${classesText(s.classes, 3)} of ${s.data.split("/").at(-1)}`), differences.is_same_task ? "the same" : h("strong", null, "two tasks")],
    ["from", ...subnets.map(fromOf), ""],
    ["accuracy (95 %)", ...subnets.map((s) => accuracyOf(s.accuracy)), accuracyDifference(differences)],
    ...latencyRows(subnets, differences),
    ["parameters", ...subnets.map((s) => count(s.params)), signedCount(differences.params)],
    ["MACs", ...subnets.map((s) => count(s.macs)), signedCount(differences.macs)],
    ["weights (FP32)", ...subnets.map((s) => `${s.weights_mb.toFixed(2)}\u00a0MB`), `${signed(subnets[1].weights_mb - subnets[0].weights_mb, 2)}\u00a0MB`],
    ["image, embedding", ...subnets.map((s) => `${pixels(s.img_size)}, ${s.embed_dim}`), ""],
    ["certificate", ...subnets.map((s) => s.certificates.length ? s.certificates.map(certificateOf) : "none"), ""],
    ["bundle", ...subnets.map((s) => bundleOf(s.bundle)), ""],
  ];
  return tableRoom("Figures", h("table", { class: "table table-lines compare" },
    h("thead", null, h("tr", null, ["", "A", "B", "B less A"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, rows.map(([name, ...cells]) => h("tr", null, h("th", { scope: "row" }, name), cells.map((cell) => h("td", null, cell)))))));
}

function fromOf({ study, trial_number: number }) {
  if (!study) return "no search";
  return [h("a", { href: routeTo(["searches", study]) }, study), isNumber(number) ? `, trial ${number}` : ", its winner"];
}

function accuracyOf(found) {
  if (!found) return "never scored";
  const about = `${found.metric === "miou" ? "mIoU" : "top1"}, ${found.split} split${found.is_final ? "" : ", before fine-tuning"}`;
  return [share(found.value, found.interval, found.num_images), h("div", { class: "small muted" }, about)];
}

function accuracyDifference({ accuracy, no_accuracy: reason }) {
  if (!accuracy) return h("span", { class: "muted" }, `not compared: ${reason}`);
  return [points(accuracy.difference), accuracy.is_equal && h("div", { class: "small muted" }, "equal, within the interval")];
}

/** A row per device that one of them is known on. */
function latencyRows(subnets, differences) {
  const devices = [...new Set(subnets.flatMap((s) => s.latencies.map((row) => row.device)))];
  return devices.map((device) => {
    const difference = differences.latencies.find((one) => one.device === device);
    return [`latency on ${device}`, ...subnets.map((s) => latencyOf(s.latencies.find((row) => row.device === device))), latencyDifference(difference)];
  });
}

function latencyOf(row) {
  if (!row) return "not known";
  const board = row.board_interval_ms && `real board ${interval(row.board_interval_ms)}`;
  const predicted = row.predicted_interval_ms && `predicted ${interval(row.predicted_interval_ms)}`;
  return [milliseconds(row.measured_latency_ms ?? row.predicted_latency_ms), " ", provenanceBadge(originOf(row)),
    [predicted, board].filter(Boolean).map((text) => h("div", { class: "small muted" }, text))];
}

function latencyDifference(found) {
  if (!found) return h("span", { class: "muted" }, "not known on both");
  const notes = [found.is_equal && "equal: the intervals overlap", !found.is_alike && "one was run, the other predicted"].filter(Boolean);
  return [`${signed(found.difference_ms, 2)}\u00a0ms, ${found.ratio.toFixed(2)} times`, notes.map((text) => h("div", { class: "small muted" }, text))];
}

function certificateOf(one) {
  return h("div", null, verdictBadge(one.verdict), ` ${milliseconds(one.budget_ms)} on ${one.device}`, one.is_missing && h("span", { class: "bad" }, ", its file is gone"));
}

function bundleOf(bundle) {
  if (!bundle) return "none";
  if (bundle.is_missing) return h("span", { class: "bad" }, "gone");
  return `${bundle.is_finetuned ? "fine-tuned" : "not fine-tuned"}, ${bundle.size_mb.toFixed(1)}\u00a0MB`;
}

function signedCount(value) {
  return value === 0 ? "the same" : `${value < 0 ? "−" : "+"}${count(Math.abs(value))}`;
}

function keptNote({ blocks }) {
  const left = (name) => blocks.filter((block) => block[name]).length;
  return `${left("num_heads")} attention branches, ${left("mlp_width")} MLPs of ${blocks.length}`;
}

function blocksTable(subnets, { blocks }) {
  if (!blocks.length) return h("p", { class: "muted" }, "No block differs: both have the same shape.");
  const heads = ["block", ...WIDTHS.flatMap(([, name]) => [`${name} A`, "B"])];
  return tableRoom("Blocks that differ", h("table", { class: "table table-lines" },
    h("thead", null, h("tr", null, heads.map((name, k) => h("th", { scope: "col", class: k ? "number" : "" }, name)))),
    h("tbody", null, blocks.map((block) => h("tr", null, h("th", { scope: "row" }, block.index), WIDTHS.flatMap(([key]) =>
      subnets.map((subnet) => {
        const value = subnet.blocks[block.index]?.[key] || "–";
        return h("td", { class: "number" }, block.fields.includes(key) ? h("strong", null, value) : value);
      })))))));
}
