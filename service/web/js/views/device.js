/** One device: its state, what its latency table covers, and how well latencies are predicted. */

import { agreementChart } from "../chart/agreement.js";
import { attnCoverage, mlpCoverage } from "../chart/coverage.js";
import { get, pathOf } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { isNumber, moment, whole } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { provenanceBadge } from "../parts/badges.js";
import { commandLine, emptyNote, loadingNote, problemNote } from "../parts/notes.js";
import { facts, head, panel } from "../parts/panel.js";
import { profileStart } from "../parts/profile-start.js";
import { reportCard } from "../parts/report-card.js";

const MOST_ROWS = 5000; // the API's longest page of a table
const MOST_MODELS = 1000;

/** Build the view. */
export async function view({ path, signal }) {
  const place = (...rest) => pathOf("devices", path[1], ...rest);
  const [about, coverage] = await Promise.all([
    get(place(), {}, { signal }),
    get(place("coverage"), { limit: MOST_ROWS }, { signal }),
  ]);
  const charts = [];
  const keep = (chart) => { charts.push(chart); return chart.node; };
  signal.addEventListener("abort", () => charts.forEach((chart) => chart.destroy()), { once: true });
  const { device, predictors, commands } = about;
  const [newest, ...earlier] = predictors;
  const node = h(
    "div",
    { class: "stack" },
    head(device.name, {
      crumb: h("a", { href: routeTo(["devices"]) }, "Devices"),
      beside: provenanceBadge(device.provenance),
      tools: device.num_subnets ? h("a", { class: "button", href: routeTo(["front"], { device: device.name }) }, "its front") : null,
    }),
    h("div", { class: "columns" },
      h("div", { class: "stack" },
        panel("Device", deviceFacts(device)),
        panel("State", [stateOf(about), profileStart({
          device: device.name, text: newest ? "profile again: measure what the table lacks" : "profile this device", signal,
          onDone: () => dispatchEvent(new HashChangeEvent("hashchange")),
        })]),
        agreementPanel(get(place("models"), { limit: MOST_MODELS }, { signal }), commands, keep),
        panel("Commands", Object.entries(commands).map(([what, command]) => commandLine(command, what)))),
      h("div", { class: "stack" },
        panel("Report card of the predictor", newest ? reportCard(newest.report) : emptyNote("No latency predictor has been fitted for this device.", commands.profile), { note: newest && moment(newest.created_at) }),
        panel("Latency table", tableMap(coverage, commands, keep), { note: coverage.count ? `${whole(coverage.count)} rows` : null }))),
    earlier.length > 0 && panel("Earlier predictors", h("ul", null, earlier.map((p) => h("li", null, h("code", null, p.predictor_id), ` ${moment(p.created_at)}`)))),
  );
  return { title: device.name, node };
}

function deviceFacts(device) {
  const options = Object.entries(device.options ?? {}).map(([name, value]) => `${name} ${value}`).join(", ");
  return facts([
    ["runtime", `${device.runtime} ${device.runtime_version}`],
    ["precision", `${device.precision}, batch ${device.batch}`],
    ["power mode", device.power_mode],
    ["ONNX opset", `up to ${device.opset}`],
    ["compute capability", device.compute_capability],
    ["memory", isNumber(device.memory_mb) ? `${whole(device.memory_mb)} MB` : null],
    ["options", options],
    ["id", device.device_id && h("code", null, device.device_id)],
    ["note", device.note],
  ]);
}

function stateOf({ state, tables, device }) {
  const known = state && Object.keys(state).length ? facts(Object.entries(state)) : h("p", { class: "muted" },
    device.provenance === "emulated" ? "An emulated device has no clocks or temperature of its own." : "It has not told its state yet.");
  if (!tables.length) return known;
  return [known, facts([
    ["measurements", `${whole(device.num_measurements)} of whole models`],
    ...tables.map((table) => [`table ${table.lut_id.slice(0, 8)}`, `${whole(table.num_rows)} rows, protocol ${table.protocol_id.slice(0, 8)}, since ${moment(table.created_at)}`]),
  ])];
}

function agreement(models, commands, keep) {
  const rows = models.rows.filter((row) => isNumber(row.predicted_latency_ms) && isNumber(row.measured_latency_ms));
  if (!rows.length) return emptyNote(models.rows.length ? "Whole models were measured, but there is no predictor for such nets." : "No whole model has been measured on this device.", commands.profile);
  const word = rows[0].provenance;
  return [keep(agreementChart(rows)), h("p", { class: "small muted" },
    `Filled: ${rows.filter((row) => !row.is_fitted).length} nets the predictor was not fitted to; hollow: ${rows.filter((row) => row.is_fitted).length} it was fitted to. Shaded: within 5 % and 10 %. All latencies ${word}.`)];
}

/** The panel, filled when its rows are there: a thousand predictions take a moment that nothing else has to wait for. */
function agreementPanel(coming, commands, keep) {
  const body = h("div", { class: "stack" }, loadingNote());
  const note = h("span");
  coming.then((models) => {
    show(body, agreement(models, commands, keep));
    show(note, models.next_offset ? `the first ${whole(models.rows.length)} of ${whole(models.count)}` : "");
  }).catch((problem) => problem.name !== "AbortError" && show(body, problemNote(problem)));
  return panel("Predicted against measured", body, { note });
}

function tableMap({ rows }, commands, keep) {
  const attn = rows.filter((row) => row.kind === "attn");
  const mlp = rows.filter((row) => row.kind === "mlp");
  if (!rows.length) return emptyNote("The table holds no rows. A profile measures them:", commands.profile);
  const other = rows.length - attn.length - mlp.length;
  const companies = new Set(mlp.map((row) => row.company));
  return [
    mlp.length > 0 && [h("h3", null, "MLP branches"), keep(mlpCoverage(mlp)),
      h("p", { class: "small muted" }, companies.size > 1 ? "Filled: measured behind other work (busy). Hollow: alone, waiting for launches." : `All measured ${[...companies].join()}.`)],
    ["busy", "alone"].map((company) => attnMap(attn.filter((row) => row.company === company), company, keep)),
    attn.length > 0 && h("p", { class: "small muted" }, "A full cell was measured, stronger is slower; times of empty ones are interpolated."),
    other > 0 && h("p", { class: "small muted" }, `And ${whole(other)} rows of whole blocks or nets without blocks.`),
  ];
}

function attnMap(rows, company, keep) {
  return rows.length > 0 && [h("h3", null, `Attention branches, ${company === "busy" ? "behind other work (busy)" : "alone"}`), keep(attnCoverage(rows))];
}
