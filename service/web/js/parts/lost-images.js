/** Test images that the base had right and the winner has wrong: what the cut cost, to be looked at. */

import { apiUrl, pathOf } from "../core/api.js";
import { h } from "../core/dom.js";
import { percent, whole } from "../core/figures.js";

/** Build the part of a search's answer; nothing for answers of versions that kept no images. */
export function lostImages(study, lost) {
  if (!lost) return null;
  if (!lost.num_lost) return h("p", { class: "small" }, `No test image that the base has right is wrong now${wonText(lost)}.`);
  const rest = lost.num_lost > lost.images.length ? `, the ${lost.images.length} surest mistakes` : "";
  return h("section", { class: "stack", "aria-label": "Images lost" },
    h("h3", null, `${whole(lost.num_lost)} test images lost`),
    h("p", { class: "small muted" }, `The base has them right, the winner wrong${wonText(lost)}${rest}:`),
    h("ul", { class: "lost" }, lost.images.map((image, number) => item(study, image, number))));
}

function wonText({ num_won: count }) {
  return count ? `; ${whole(count)} ${count === 1 ? "is" : "are"} right only now` : "";
}

function item(study, image, number) {
  const name = image.file ?? `image ${image.hash}`;
  const picture = h("img", {
    src: apiUrl(pathOf("searches", study, "lost", `${number}.png`)), alt: `${image.label}, taken for ${image.winner}`, loading: "lazy", width: 96, height: 96,
    on: { error: () => picture.replaceWith(h("span", { class: "lost-gone small muted" }, "not shown: outside the data roots, moved or changed")) },
  });
  return h("li", null, picture,
    h("span", null, h("strong", null, image.label), " taken for ", h("strong", null, image.winner), h("span", { class: "muted" }, ` (${percent(image.confidence, 0)} sure)`)),
    h("span", { class: "small muted lost-name", title: name }, name));
}
