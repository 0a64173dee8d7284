/** Accuracy class by class: recall of base and winner, and what the winner takes for what. */

import { h } from "../core/dom.js";
import { isNumber, percent, share, whole } from "../core/figures.js";
import { tableRoom } from "./panel.js";

const MOST_ROWS = 20; // of the table of recalls: those that lost most come first
const MOST_COLUMNS = 12; // of the matrix: beyond, the commonest mistakes are listed
const MOST_MISTAKES = 10;

/**
 * Build the parts; null where nothing is known by class.
 * @param {object} winner Has `recall`, `recall_interval`, `num_images_by_class`, `confusion` of the test split.
 * @param {object | null} base The same of the base with its head restricted to the classes.
 */
export function classScores(winner, base) {
  if (winner?.iou) return iouTable(winner, base);
  const names = Object.keys(winner?.recall ?? {});
  if (!names.length) return null;
  return [recallTable(names, winner, base), confusion(winner.confusion)];
}

function iouTable(winner, base) {
  const cells = (scores, name) => h("td", { class: "number" }, share(scores?.iou?.[name], scores?.iou_interval?.[name]));
  const heads = ["class", "test images with it", base && "IoU of the base", "IoU"].filter(Boolean);
  return tableRoom("IoU by class", h("table", { class: "table table-lines" },
    h("caption", null, "IoU by class, with its 95 % interval over images"),
    h("thead", null, h("tr", null, heads.map((name, k) => h("th", { scope: "col", class: k ? "number" : "" }, name)))),
    h("tbody", null, Object.keys(winner.iou).map((name) => h("tr", null, h("th", { scope: "row" }, name),
      h("td", { class: "number" }, whole(winner.num_images_by_class?.[name])), base && cells(base, name), cells(winner, name))))));
}

function recallTable(names, winner, base) {
  const lost = (name) => (base?.recall?.[name] ?? 0) - (winner.recall[name] ?? 0);
  const shown = names.length > MOST_ROWS ? [...names].sort((a, b) => lost(b) - lost(a)).slice(0, MOST_ROWS) : names;
  const cells = (scores, name) => h("td", { class: "number" }, share(scores?.recall?.[name], scores?.recall_interval?.[name]));
  const heads = ["class", "test images", base && "recall of the base", "recall"].filter(Boolean);
  return tableRoom("Recall by class", h("table", { class: "table table-lines" },
    h("caption", null, `recall by class, with its 95 % interval${shown.length < names.length ? `; the ${shown.length} of ${names.length} classes that lost most` : ""}`),
    h("thead", null, h("tr", null, heads.map((name, k) => h("th", { scope: "col", class: k ? "number" : "" }, name)))),
    h("tbody", null,
      shown.map((name) => h("tr", null, h("th", { scope: "row" }, name), h("td", { class: "number" }, whole(winner.num_images_by_class?.[name])),
        base && cells(base, name), cells(winner, name))),
      h("tr", { class: "row-sum" }, h("th", { scope: "row" }, "mean (balanced accuracy)"), h("td", { class: "number" }, whole(winner.num_images)),
        base && h("td", { class: "number" }, share(base.balanced_accuracy, base.balanced_accuracy_interval)),
        h("td", { class: "number" }, share(winner.balanced_accuracy, winner.balanced_accuracy_interval))))));
}

function confusion(found) {
  if (!found?.counts?.length) return null;
  return found.classes.length <= MOST_COLUMNS ? matrix(found) : mistakes(found);
}

function matrix({ classes, counts }) {
  return tableRoom("Confusion", h("table", { class: "table table-lines confusion" },
    h("caption", null, "what the images of each class (row) are taken for (column)"),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, ""), classes.map((name) => h("th", { scope: "col", class: "number" }, name)))),
    h("tbody", null, counts.map((row, k) => {
      const all = row.reduce((sum, count) => sum + count, 0);
      return h("tr", null, h("th", { scope: "row" }, classes[k]), row.map((count, j) => h("td", {
        class: `number ${k === j ? "is-right" : "is-wrong"}`, style: { "--part": all ? count / all : 0 },
        title: `${classes[k]} taken for ${classes[j]}: ${percent(all ? count / all : NaN)}`,
      }, count ? whole(count) : "·")));
    }))));
}

function mistakes({ classes, counts }) {
  const all = counts.flatMap((row, k) => row.map((count, j) => ({ count, k, j }))).filter(({ count, k, j }) => k !== j && isNumber(count) && count > 0);
  if (!all.length) return null;
  const most = all.sort((a, b) => b.count - a.count).slice(0, MOST_MISTAKES);
  return h("section", { class: "stack", "aria-label": "Commonest mistakes" },
    h("p", { class: "small muted" }, "Commonest mistakes:"),
    h("ul", { class: "plain" }, most.map(({ count, k, j }) => h("li", null, h("strong", null, classes[k]), " taken for ", h("strong", null, classes[j]), `: ${whole(count)}`))));
}
