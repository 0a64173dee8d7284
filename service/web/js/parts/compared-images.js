/** Test images with masks: image, truth, base and winner side by side, as the search put them into its bundle. */

import { apiUrl, get, pathOf } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { percent } from "../core/figures.js";

/** Build the part of a search's answer; null where images have classes, and nothing where the bundle has none. */
export function comparedImages(study, metric) {
  if (metric !== "miou" || !study) return null;
  const part = h("section", { class: "stack", "aria-label": "Images compared" });
  get(pathOf("searches", study, "compared")).then(
    ({ images }) => images.length && show(part,
      h("h3", null, "Test images: image, truth, base, winner"),
      h("p", { class: "small muted" }, "Classes in turn, whatever was answered; each class has one colour, the background none."),
      h("ul", { class: "compared" }, images.map((image) => item(study, image)))),
    () => part.remove(),
  );
  return part;
}

function item(study, image) {
  const classes = image.classes.join(", ");
  const picture = h("img", {
    src: apiUrl(pathOf("searches", study, "compared", `${image.number}.png`)), loading: "lazy",
    alt: `${image.image} with ${classes}: image, truth, base and winner side by side`,
    on: { error: () => picture.replaceWith(h("span", { class: "small muted" }, "not shown: the bundle was moved or changed")) },
  });
  return h("li", null, picture,
    h("span", { class: "small" }, h("strong", null, classes), ` mIoU ${percent(image.miou_base, 0)} base, ${percent(image.miou, 0)} winner`),
    h("span", { class: "small muted lost-name", title: image.image }, image.image));
}
