/** A bundle's files to download; those that are missing or changed are said. */

import { h } from "../core/dom.js";
import { bytes } from "../core/figures.js";
import { bundleLabels } from "./bundle-labels.js";

/** Build the body of the panel; `bundle` as the API gives it, null where there is none; `make` has it made. */
export function bundlePart(bundle, make) {
  if (!bundle) return [h("p", { class: "muted" }, "This subnet was scored in a search but not shipped, so there is no bundle of it yet."), make];
  return h(
    "div",
    { class: "stack" },
    h("p", { class: "small muted" }, "in ", h("code", null, bundle.dir)),
    h("p", null, bundleLabels(bundle)),
    bundle.is_missing && [h("p", { class: "bad" }, "The folder is missing; only what the database knows is left."), make],
    !bundle.is_served && !bundle.is_missing && h("p", { class: "note" }, "The folder lies outside the data roots of this service, so nothing of it can be downloaded here. Start the service with --root to serve it."),
    bundle.is_served && !bundle.is_missing && h("p", null, h("a", { class: "button button-main", href: bundle.zip, download: true }, "download the bundle (zip)")),
    list(bundle, (file) => !isLost(file)),
    bundle.files?.some(isLost) && h("details", null, h("summary", null, "test images that the cut lost, as files"), list(bundle, isLost)),
  );
}

function isLost({ name }) {
  return name.startsWith("lost_images/");
}

function list({ files, is_served: isServed }, isShown) {
  const shown = (files ?? []).filter(isShown);
  return shown.length > 0 && h("ul", { class: "files" }, shown.map((file) => fileLine(file, isServed)));
}

function fileLine(file, isServed) {
  const name = isServed && !file.is_missing ? h("a", { href: file.url, download: true }, file.name) : h("span", null, file.name);
  return h(
    "li",
    null,
    h("span", { class: "mono" }, name),
    file.is_missing
      ? h("strong", { class: "bad" }, "missing")
      : h("span", { class: "muted" }, bytes(file.size_bytes)),
    file.is_changed && h("strong", { class: "bad" }, "changed since it was certified"),
    file.sha256 && h("code", { class: "muted hash", title: file.sha256 }, file.sha256.slice(0, 8)),
  );
}
