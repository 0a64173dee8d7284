/** Test images with masks: image, truth, base and winner side by side, as the search put them into its bundle. */

import { apiUrl, get, pathOf } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { percent } from "../core/figures.js";

/** Build the part of a search's answer; null where images have classes, and nothing where the bundle has none. */
export function comparedImages(study, metric) {
  if (metric !== "miou" || !study) return null;
  const part = h("section", { class: "stack", "aria-label": "Images compared" });
  get(pathOf("searches", study, "compared")).then(
    ({ images, colours }) => images.length && show(part,
      h("h3", null, "Test images: image, truth, base, winner"),
      h("p", { class: "small muted" }, "Classes in turn, whatever was answered; each class has one colour, the background none."),
      legend(colours),
      h("ul", { class: "compared" }, images.map((image) => item(study, image)))),
    () => part.remove(),
  );
  return part;
}

const PANELS = ["image", "truth", "base", "winner"];
const COLOUR = /^#[0-9a-f]{6}$/;

/** Name the colour of each class but the first, which is not laid over; null for bundles that did not keep them. */
function legend(colours) {
  const shown = Object.entries(colours || {}).slice(1).filter(([, colour]) => COLOUR.test(colour));
  if (!shown.length) return null;
  return h("ul", { class: "compared-legend small" }, shown.map(([name, colour]) => {
    const swatch = h("span", { class: "compared-swatch", "aria-hidden": "true" });
    swatch.style.background = colour; // by script: the page's policy refuses style attributes
    return h("li", null, swatch, name);
  }));
}

/** Tell the IoU of each class in the image but the background, of base and winner; the mean for older bundles. */
function told(image) {
  const things = image.classes.filter((name) => image.classes.length === 1 || name !== "background");
  if (!image.iou || !image.iou_base) return [h("strong", null, image.classes.join(", ")), ` mIoU ${said(image.miou_base, image.miou)}`];
  return things.flatMap((name, place) => [
    place ? "; " : "", h("strong", null, name), ` IoU ${said(image.iou_base[name], image.iou[name])}`]);
}

function said(base, ours) {
  return `${percent(base, 0)} base, ${percent(ours, 0)} winner`;
}

function item(study, image) {
  const classes = image.classes.join(", ");
  const picture = h("img", {
    src: apiUrl(pathOf("searches", study, "compared", `${image.number}.png`)), loading: "lazy",
    alt: `${image.image} with ${classes}: image, truth, base and winner side by side`,
    on: { error: () => picture.replaceWith(h("span", { class: "small muted" }, "not shown: the bundle was moved or changed")) },
  });
  return h("li", null,
    h("div", { class: "compared-strip" },
      h("div", { class: "compared-heads small muted", "aria-hidden": "true" }, PANELS.map((name) => h("span", null, name))), picture),
    h("span", { class: "small" }, told(image)),
    h("span", { class: "small muted lost-name", title: image.image }, image.image));
}
