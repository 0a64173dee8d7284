/** Words for boards that answer together. */

import { h } from "../core/dom.js";
import { isNumber } from "../core/figures.js";

/** `4 × jetson-nano, jetson-orin-nano`. */
export function boardsText(devices) {
  const counts = new Map();
  for (const device of devices) counts.set(device, (counts.get(device) ?? 0) + 1);
  return [...counts].map(([device, count]) => (count > 1 ? `${count} × ${device}` : device)).join(", ");
}

/** The accuracy that counts of a mode, a net or a listed row: mIoU where pixels have classes. */
export function accuracyOf(found, of = "") {
  const isPixels = isNumber(found[`${of}miou`]);
  const name = isPixels ? `${of}miou` : `${of}top1`;
  return { name: isPixels ? "mIoU" : "top1", value: found[name], interval: found[`${name}_interval`], search: found[`${name}_search`] };
}

/** What a decomposition ships. */
export function shippedBadge(shipped) {
  const isTogether = shipped === "collaboration";
  return h("span", { class: `badge ${isTogether ? "badge-filled" : "badge-hollow"}` }, isTogether ? "all boards" : "one board alone");
}
