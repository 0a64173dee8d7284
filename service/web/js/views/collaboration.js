/** One decomposition: what the boards do together, what each runs, and what one of them does alone. */

import { get, pathOf } from "../core/api.js";
import { copyButton } from "../core/copy.js";
import { quoted } from "../core/database.js";
import { h } from "../core/dom.js";
import { bytes, classesText, isNumber, milliseconds, percent, plainMs, points, share, shortId, signed, whole } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge } from "../parts/badges.js";
import { accuracyOf, boardsText, shippedBadge } from "../parts/collaboration-words.js";
import { commandLine } from "../parts/notes.js";
import { facts, figure, head, panel, tableRoom } from "../parts/panel.js";

const MODES = {
  fuse: () => "every board answers, and the answers are fused",
  any: (mode) => `the first ${mode.needed} answers are fused`,
  route: (mode, parts) => `${parts[mode.first]?.name ?? "one"} is asked first, others where it is not sure`,
};
const GROUPS = { confusion: "classes that the base confuses stay together", balanced: "as many images in each", random: "drawn at random" };

/** Build the view. */
export async function view({ path, signal }) {
  const found = await get(pathOf("collaborations", path[1]), {}, { signal });
  const { sub_models: parts, modes, rival, base, placement } = found;
  const node = h(
    "div",
    { class: "stack" },
    head(found.study, {
      crumb: h("a", { href: routeTo(["collaborations"]) }, "Boards together"),
      beside: h("p", { class: "muted" }, `${base.name} over ${boardsText(distinctBoards(parts))}, ${classesText(found.classes)}`),
      tools: copyButton("copy folder", () => found.dir),
    }),
    figures(found),
    h("p", null, shippedBadge(found.shipped), ` ${found.verdict}`),
    panel("Ways to use the boards", modeTable(modes, parts), { note: `${modes[0].split} split, ${whole(modes[0].num_images)} images` }),
    panel("Sub-models", [
      h("p", { class: "small muted" }, `Groups: ${GROUPS[found.grouping.kind] ?? found.grouping.kind}; ${percent(found.grouping.confusion_inside, 0)} of the base's confusion${found.grouping.shared?.length ? ` between classes other than ${found.grouping.shared.join(", ")}` : ""} lies inside them. `
        + (found.grouping.shared?.length ? `Every sub-model tells its own from ${found.grouping.shared.join(", ")}. ` : "")
        + `The slowest board takes ${milliseconds(placement.slowest_ms)}; ${placement.is_exact ? "no placement is faster" : `the best placement is at most ${percent(placement.gap)} faster`}.`),
      partTable(parts, found),
    ]),
    h("div", { class: "columns" },
      h("div", { class: "stack" }, panel("One board alone", alone(found))),
      h("div", { class: "stack" }, panel("Network", network(found.network)), panel("Commands", commands(found)))),
    found.notes.length > 0 && panel("Notes", h("ul", { class: "plain" }, found.notes.map((note) => h("li", null, note)))),
  );
  return { title: found.study, node };
}

/** The device of each board, once for each board. */
function distinctBoards(parts) {
  return [...new Map(parts.map((part) => [part.board, part.device])).values()];
}

function figures({ modes, rival, base, budget_ms: budget, sub_models: parts }) {
  const [mode] = modes;
  const [boards, one, whole] = [mode, rival, base].map((found) => accuracyOf(found));
  return h(
    "div",
    { class: "figures" },
    figure(`${boards.name} of the boards`, share(boards.value, boards.interval), `${mode.mode}, ${mode.split} split`),
    figure("end to end", milliseconds(mode.predicted_p50_ms), [provenanceBadge(`predicted (${parts[0].provenance})`), ` of a budget of ${milliseconds(budget)}`]),
    figure("one board alone", share(one.value, one.interval), `${milliseconds(rival.latency_ms)} on ${rival.device}`),
    figure("the base", share(whole.value, whole.interval), `${milliseconds(base.latency_ms)} on ${base.device}`),
  );
}

function table(name, names, rows) {
  return tableRoom(name, h("table", { class: "table table-lines" },
    h("thead", null, h("tr", null, names.map(([text, kind]) => h("th", { scope: "col", class: kind ?? "" }, text)))),
    h("tbody", null, rows.map(([first, ...cells]) => h("tr", null, h("th", { scope: "row" }, first),
      cells.map((cell, k) => h("td", { class: names[k + 1][1] ?? "" }, cell)))))));
}

function modeTable(modes, parts) {
  const names = [["mode"], ["who answers"], ["p50, ms", "number"], ["p95, ms", "number"], ["mean, ms", "number"], ["images/s", "number"], ["sent, an image", "number"], [accuracyOf(modes[0]).name, "number"]];
  return table("Ways to use the boards", names, modes.map((mode) => [
    mode.mode, MODES[mode.mode]?.(mode, parts) ?? "", plainMs(mode.predicted_p50_ms), plainMs(mode.predicted_p95_ms), plainMs(mode.predicted_mean_ms),
    isNumber(mode.predicted_images_per_s) ? mode.predicted_images_per_s.toFixed(0) : "–", bytes(Math.round(mode.bytes_per_image)), share(accuracyOf(mode).value, accuracyOf(mode).interval),
  ]));
}

function partTable(parts, { grid, classes }) {
  const names = [["sub-model"], ["board"], ["classes"], ["budget, ms", "number"], ["latency, ms", "number"], ["from"], [grid ? "patches × classes" : "vector", "number"], ["all classes, alone", "number"], ["subnet"]];
  return table("Sub-models", names, parts.map((part) => [
    part.name, h("a", { href: routeTo(["devices", part.device]) }, part.board), part.classes.length ? classesText(part.classes, 4) : "all", plainMs(part.budget_ms), plainMs(part.latency_ms),
    provenanceBadge(part.provenance), grid ? `${grid[0] * grid[1]} × ${classes.length}` : whole(part.vector_dim), percent(part.miou_alone ?? part.top1_alone), h("a", { class: "mono", href: routeTo(["subnets", part.subnet_id]) }, shortId(part.subnet_id)),
  ]));
}

function alone({ rival }) {
  const { name, value, interval, search } = accuracyOf(rival);
  const ends = rival.difference_interval.map((end) => signed(100 * end, 1)).join(" to ");
  return facts([
    ["subnet", h("a", { class: "mono", href: routeTo(["subnets", rival.subnet_id]) }, shortId(rival.subnet_id))],
    ["search", h("a", { href: routeTo(["searches", rival.study]) }, rival.study)],
    ["device", h("a", { href: routeTo(["devices", rival.device]) }, rival.device)],
    ["latency", milliseconds(rival.latency_ms)],
    [`${name}, test split`, share(value, interval)],
    [`${name}, search split`, percent(search)],
    ["the boards less this", `${points(rival.difference)} (${ends}, 95 %)`],
    ["told apart", rival.is_equal ? "no: these images cannot tell the two apart" : "yes"],
  ]);
}

function network({ provenance, image_bytes: image, fusion_ms: fusion, links }) {
  return [
    facts([["figures", provenance], ["image to each board", image ? bytes(image) : "none: boards see it themselves"], ["left for the fusion", milliseconds(fusion)]]),
    table("Network", [["board"], ["round trip, ms", "number"], ["p95, ms", "number"], ["down, Mbit/s", "number"], ["up, Mbit/s", "number"]],
      links.map((link) => [link.board, plainMs(link.rtt_p50_ms), plainMs(link.rtt_p95_ms), link.down_mbit.toFixed(0), link.up_mbit.toFixed(0)])),
  ];
}

function commands({ dir, study }) {
  return [
    commandLine(`nuwa collaborate up ${quoted(dir)} -o kits`, "a folder for each board"),
    commandLine(`nuwa collaborate bench ${quoted(dir)} --data IMAGES --start`, "try it on this machine"),
    commandLine(`nuwa predict ${quoted(study)} --network 100mbit,5ms`, "on another network"),
  ];
}
