/** The answer of a search: winner beside base, verdict, and where to get it. */

import { apiUrl, pathOf } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, duration, interval, isNumber, milliseconds, percent, pixels, share, whole } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { verdictBadge } from "./badges.js";
import { classScores } from "./class-scores.js";
import { comparedImages } from "./compared-images.js";
import { lostImages } from "./lost-images.js";
import { facts, tableRoom } from "./panel.js";

/** Accuracies on whole images. */
function imageRows(base, subnet, task) {
  return [
    [`top1 of ${whole(task.num_test)} test images (95 %)`, `${share(base.top1_restricted, base.top1_restricted_interval)} ${task.head_fitted ? "fitted head" : "head restricted to the classes"}`, share(subnet.top1, subnet.top1_interval)],
    ["", task.head_fitted ? "" : `${share(base.top1_all_classes, base.top1_all_classes_interval)} all classes`, `${share(subnet.top1_derived, subnet.top1_derived_interval)} before fine-tuning`],
  ];
}

/** Accuracies on pixels. */
function pixelRows(base, subnet, task) {
  return [
    [`mIoU on ${whole(task.num_test)} test images (95 %)`, `${share(base.miou, base.miou_interval)} fitted head`, share(subnet.miou, subnet.miou_interval)],
    ["", "", `${share(subnet.miou_derived, subnet.miou_derived_interval)} before fine-tuning`],
    ["pixels right", percent(base.pixel_accuracy), percent(subnet.pixel_accuracy)],
  ];
}

/** Build the body of the panel from a `nuwa.search/1` document. */
export function searchResult(result) {
  if (!result.subnet) return infeasible(result);
  const { base, subnet, task } = result;
  const rows = [
    ["latency", `${milliseconds(base.latency_ms)} ${base.provenance}`, `${milliseconds(subnet.measured_latency_ms)} ${subnet.provenance} (p95 ${milliseconds(subnet.measured_p95_ms)})`],
    ["predicted", "–", `${milliseconds(subnet.predicted_latency_ms)} predicted (${interval(subnet.predicted_interval_ms)})`],
    subnet.board_interval_ms && ["real board", interval(base.board_interval_ms), interval(subnet.board_interval_ms)],
    ...(result.metric === "miou" ? pixelRows(base, subnet, task) : imageRows(base, subnet, task)),
    isNumber(subnet.balanced_accuracy) && [
      `balanced accuracy${result.metric === "balanced" ? ", which counts here" : ""}`,
      share(base.balanced_accuracy, base.balanced_accuracy_interval), share(subnet.balanced_accuracy, subnet.balanced_accuracy_interval),
    ],
    ...boardRows(result),
    ...sizeRows(base, subnet),
    ["parameters", count(base.params), count(subnet.params)],
    ["MACs", count(base.macs), count(subnet.macs)],
  ].filter(Boolean);
  return [
    h("p", { class: "verdict" }, verdictBadge(result.verdict ?? (result.feasible ? "met" : "missed")), ` budget ${saidBudgets(result)} on the ${result.budget_statistic}`,
      !result.budget_binds && "; the base meets it already", result.shipped !== "subnet" && `; the ${result.shipped} is shipped, being the more accurate`),
    tableRoom("Base and winner",
      h("table", { class: "table" },
        h("thead", null, h("tr", null, ["", `base ${base.name}`, "winner"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", null, rows.map(([name, left, right]) => h("tr", null, h("th", { scope: "row" }, name), h("td", null, left), h("td", null, right)))))),
    h("p", { class: "actions" },
      h("a", { class: "button button-main", href: routeTo(["subnets", subnet.subnet_id]) }, "open the winner"), " ",
      result.artifacts?.dir && h("a", { class: "button", href: apiUrl(pathOf("subnets", subnet.subnet_id, "bundle.zip")), download: true }, "download the bundle")),
    classScores(subnet, base),
    result.metric === "miou" ? comparedImages(result.study, result.metric) : lostImages(result.study, result.lost_images),
    facts([
      ["images", `${whole(task.num_train)} train, ${whole(task.num_search)} search, ${whole(task.num_test)} test${task.search_split_seen_by_base ? "; the base has seen the search split" : ""}`],
      ["trials", result.trials && `${result.trials.total} proposed, ${result.trials.feasible} feasible, ${result.trials.scored} scored, ${result.trials.failed} failed`],
      ["repairs", isNumber(result.repairs) ? `${result.repairs} after a winner missed a limit when measured` : null],
      ["time", result.seconds && Object.entries(stageSeconds(result.seconds)).map(([name, value]) => `${name} ${duration(value)}`).join(", ")],
    ]),
  ];
}

/** `30 ms`, or `30 ms on jetson-nano and 8 ms on jetson-orin-nano`. */
function saidBudgets({ budget_ms: budgetMs, budgets }) {
  if (!(budgets?.length > 1)) return milliseconds(budgetMs);
  return budgets.map((one) => `${milliseconds(one.budget_ms)} on ${one.device}`).join(" and ");
}

/** Rows about the further devices of a search, each with its budget. */
function boardRows({ budgets }) {
  return (budgets ?? []).slice(1).map((one) => [
    `on ${one.device}, budget ${milliseconds(one.budget_ms)}`,
    `${milliseconds(one.base_latency_ms)} ${one.provenance}`,
    [`${milliseconds(one.measured_latency_ms)} ${one.provenance} (p95 ${milliseconds(one.measured_p95_ms)}) `, one.verdict && verdictBadge(one.verdict)],
  ]);
}

/** Rows about image sizes: the winner's, and what the uncut base does at each smaller one. */
function sizeRows(base, subnet) {
  const sizes = base.at_sizes ?? [];
  if (!sizes.length) return [];
  const rows = [["image", pixels(base.img_size), pixels(subnet.img_size)]];
  for (const one of sizes.filter((other) => pixels(other.img_size) !== pixels(base.img_size))) {
    const told = isNumber(one.top1)
      ? `top1 ${share(one.top1, one.top1_interval)}`
      : isNumber(one.top1_search) && `top1 ${share(one.top1_search, one.top1_search_interval)} of ${whole(one.num_images_search)} search images`;
    rows.push([`at ${pixels(one.img_size)}, uncut`, [`${milliseconds(one.predicted_latency_ms)} predicted`, told].filter(Boolean).join(", "), ""]);
  }
  return rows;
}

const SUMS = ["derive", "search", "deploy"]; // of stages, for programs written before there were stages

function stageSeconds(seconds) {
  return "statistics" in seconds ? Object.fromEntries(Object.entries(seconds).filter(([name]) => !SUMS.includes(name))) : seconds;
}

function infeasible(result) {
  const { fastest, verdict_reason: reason } = result;
  return [
    h("p", null, reason ? `No subnet keeps its budget when it is measured: ${reason}.` : `No subnet of this base fits ${saidBudgets(result)}${result.budgets?.length > 1 ? "" : " on this device"}.`),
    fastest && h("p", null, `The fastest that can be reached: ${milliseconds(fastest.predicted_latency_ms)} predicted (arch `, h("code", null, fastest.arch_id), ")."),
  ];
}
