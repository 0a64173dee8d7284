/** The devices that are known, and what is stored of each. */

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { atLeast, whole } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge } from "../parts/badges.js";
import { commandLine } from "../parts/notes.js";
import { head, panel, tableRoom } from "../parts/panel.js";

const COLUMNS = ["device", "figures", "runtime", "precision", "power mode", "table rows", "measurements", "subnets", "predictor"];

/** Build the view. */
export async function view({ signal }) {
  const { rows } = await get("/devices", {}, { signal });
  const sorted = [...rows].sort((a, b) => b.num_subnets - a.num_subnets || b.num_lut_rows - a.num_lut_rows || a.name.localeCompare(b.name));
  const node = h(
    "div",
    { class: "stack" },
    head("Devices", { beside: h("p", { class: "muted" }, "what latencies are known of, and how well they are predicted") }),
    h("section", { class: "panel", "aria-label": "Devices" },
      tableRoom("Devices",
        h("table", { class: "table table-lines" },
          h("thead", null, h("tr", null, COLUMNS.map((name, k) => h("th", { scope: "col", class: k >= 5 && k < 8 ? "number" : "" }, name)))),
          h("tbody", null, sorted.map(deviceRow))))),
    panel("A board of yours", [
      h("p", null, "Any board with trtexec that can be reached over SSH becomes a device; nothing is installed on it."),
      commandLine("nuwa device add lab-nano --ssh user@host", "add it"),
      commandLine("nuwa profile lab-nano", "measure its latency table, once"),
    ]),
  );
  return { title: "Devices", node };
}

function deviceRow(row) {
  return h(
    "tr",
    null,
    h("th", { scope: "row" }, h("a", { href: routeTo(["devices", row.name]) }, row.name),
      row.note && h("div", { class: "small muted note-cell" }, row.note)),
    h("td", null, provenanceBadge(row.provenance)),
    h("td", null, `${row.runtime} ${row.runtime_version}`),
    h("td", null, row.precision),
    h("td", null, row.power_mode ?? "–"),
    h("td", { class: "number" }, whole(row.num_lut_rows)),
    h("td", { class: "number" }, whole(row.num_measurements)),
    h("td", { class: "number" }, row.num_subnets ? h("a", { href: routeTo(["front"], { device: row.name }) }, atLeast(row.num_subnets)) : "0"),
    h("td", null, row.predictor_id ? "fitted" : h("span", { class: "muted" }, "none yet")),
  );
}
