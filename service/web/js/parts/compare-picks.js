/** The subnets that were picked for a comparison, and the link to it. */

import { h } from "../core/dom.js";
import { shortId } from "../core/figures.js";
import { routeTo } from "../core/route.js";

/** Build the line above the table; null where none is picked. */
export function comparePicks(picked, onClear) {
  if (!picked.length) return null;
  const [first, second] = picked;
  return h(
    "p",
    { class: "picks-line" },
    second
      ? h("a", { class: "button button-main button-small", href: routeTo(["compare", first, second]) }, `compare ${shortId(first)} with ${shortId(second)}`)
      : h("span", null, h("code", null, shortId(first)), " is picked: pick another one to compare it with"),
    h("button", { type: "button", class: "button button-small", on: { click: onClear } }, "pick none"),
  );
}
