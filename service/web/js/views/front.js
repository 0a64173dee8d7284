/** The front: accuracy against latency with a budget to drag, and the table of the same subnets. */

import { frontChart } from "../chart/front-chart.js";
import { announce } from "../core/announce.js";
import { copyButton } from "../core/copy.js";
import { h, show } from "../core/dom.js";
import { atLeast, classesText, shortId, whole } from "../core/figures.js";
import { comparePicks } from "../parts/compare-picks.js";
import { checkField, numberField, selectField } from "../parts/fields.js";
import { routeTo } from "../core/route.js";
import { frontLegend } from "../parts/front-legend.js";
import { emptyNote, problemNote } from "../parts/notes.js";
import { head } from "../parts/panel.js";
import { describeBudget, readout } from "../parts/readout.js";
import { rowLines } from "../parts/row-lines.js";
import { subnetTable } from "../parts/subnet-table.js";
import { csvAddress, firstBudget, readDevices, readFront, readPage, readTasks } from "./front-data.js";
import { PAGE, stateFrom, writeState } from "./front-state.js";

/** Build the view. */
export async function view({ query, signal }) {
  let state = stateFrom(query);
  const { devices, device } = await readDevices(state.device, signal);
  if (!device) return { title: "Front", node: h("div", null, head("Front"), nothingYet()) };
  const made = frontView({ state, devices, device, signal });
  await made.load();
  return {
    title: "Front",
    node: made.node,
    update(next) {
      state = stateFrom(next);
      made.take(state);
    },
  };
}

/** Two tasks may have the same classes and differ in their splits: the number of subnets and the id tell them apart. */
function taskText({ task_id: id, classes, data, num_subnets: number }) {
  return `${classesText(classes, 3)} · ${data} · ${atLeast(number)} subnets (${shortId(id)})`;
}

/** Nets that answer for pixels have no top1, so that there is no front to draw: their searches have KL against latency. */
function withoutTop1(rows) {
  const studies = [...new Set(rows.map((row) => row.study).filter(Boolean))];
  return h("p", { class: "note" }, "None of these subnets has a top1: where pixels have classes, the mean IoU is taken of a search's winner only. Latency against KL to the base, and the winner's mIoU: ",
    studies.map((study, k) => [k > 0 && ", ", h("a", { href: routeTo(["searches", study]) }, study)]));
}

function nothingYet() {
  return emptyNote(
    "The database holds no subnets yet. A search fills it:",
    "nuwa-search --budget-ms 30",
    h("p", null, "or ", h("a", { href: routeTo(["searches", "new"]) }, "start a search from here"), "."),
  );
}

function frontView({ state: first, devices, device: firstDevice, signal }) {
  let state = { ...first, device: firstDevice };
  let tasks = [];
  let data = { front: [], others: [], references: [] };
  let page = { rows: [], next_offset: null };
  let round = 0;

  const chart = frontChart({
    onBudget: (ms, isFinal) => setBudget(ms, isFinal),
    onHover: (id) => table.highlight(id),
    describe: (ms) => describeBudget(data.front, ms),
    lines: rowLines,
  });
  const sheet = readout({ onBudget: (ms) => setBudget(ms, true), onHover: (id) => point(id) });
  const table = subnetTable({
    onSort: (sort) => change({ sort, offset: 0 }), onHover: (id) => chart.highlight(id),
    onPick: (id, on) => change({ compare: on ? [...state.compare, id].slice(-2) : state.compare.filter((one) => one !== id) }),
  });
  const filters = h("form", { class: "filters", "aria-label": "Filters", on: { submit: (event) => event.preventDefault() } });
  const about = h("div", { class: "panel-note", role: "status" });
  const legend = h("div", { class: "legend-room" });
  const pager = h("div", { class: "pager" });
  const zoom = h("button", { type: "button", class: "button button-small", on: { click: () => change({ zoom: state.zoom === "front" ? "all" : "front" }) } });
  const tableNote = h("div", { class: "panel-note" });
  const picks = h("div", { class: "picks", role: "status" });
  const csv = copyButton("copy CSV link", () => csvAddress(state, place()));
  const node = h(
    "div",
    { class: "stack" },
    head("Front", { beside: h("p", { class: "muted" }, "what accuracy a latency buys, per device and task") }),
    filters,
    h(
      "div",
      { class: "columns-main" },
      h("section", { class: "panel", "aria-label": "Accuracy against latency" },
        h("div", { class: "panel-head" }, h("h2", null, "Accuracy against latency"), about, zoom),
        h("div", { class: "panel-body panel-chart" }, chart.node, legend)),
      sheet.node,
    ),
    h("section", { class: "panel", "aria-label": "Subnets" },
      h("div", { class: "panel-head" }, h("h2", null, "Subnets"), tableNote, csv), picks, table.node, pager),
  );
  signal.addEventListener("abort", chart.destroy, { once: true });

  const place = () => ({ device: state.device, task: state.task });

  async function load() {
    const mine = ++round;
    ({ tasks, task: state.task } = await readTasks(state, state.device, signal));
    const [found, rows] = await Promise.all([readFront(state, place(), signal), readPage(state, place(), signal)]);
    if (mine !== round) return;
    data = found;
    page = rows;
    state.budget ??= firstBudget(data.front);
    writeState(state);
    draw();
  }

  async function loadPage() {
    const mine = ++round;
    const rows = await readPage(state, place(), signal);
    if (mine !== round) return;
    page = rows;
    drawFilters();
    drawTable();
  }

  function draw() {
    drawFilters();
    const isEmpty = !data.front.length && !data.others.length;
    zoom.textContent = state.zoom === "front" ? "show all" : "zoom to front";
    zoom.hidden = data.front.length < 2;
    const beside = data.others.length ? `, ${whole(data.others.length)} others${data.hasMore ? " (the most accurate)" : ""}` : "";
    about.textContent = isEmpty ? "nothing matches" : `${whole(data.front.length)} on the front${beside}`;
    show(legend, isEmpty && page.rows.length ? withoutTop1(page.rows) : frontLegend([...data.front, ...data.others], data.references, state.zoom));
    chart.update({ ...data, budgetMs: state.budget, zoom: state.zoom });
    drawBudget();
    drawTable();
  }

  function drawTable() {
    table.update(page.rows, { sort: state.sort, frontIds: new Set(data.front.map((row) => row.subnet_id)), budgetMs: state.budget, picked: state.compare });
    show(picks, comparePicks(state.compare, () => change({ compare: [] })));
    tableNote.textContent = page.rows.length ? `rows ${state.offset + 1} to ${state.offset + page.rows.length}` : "nothing matches these filters";
    drawPager();
  }

  function drawBudget() {
    if (state.budget) sheet.update({ front: data.front, references: data.references, budgetMs: state.budget });
    sheet.node.hidden = !state.budget;
  }

  function drawFilters() {
    const fields = () => [...filters.querySelectorAll("input, select")];
    const at = fields().indexOf(document.activeElement); // stays where the reader is
    const bases = [...new Set([...data.front, ...data.others].map((row) => row.base).concat(state.base ?? []))];
    show(
      filters,
      selectField({ label: "device", value: state.device, options: devices.map((d) => ({ value: d.name, text: `${d.name} (${d.provenance})` })), onChange: (device) => change({ device, task: null, budget: null, offset: 0 }) }),
      selectField({ label: "task", value: state.task, options: tasks.map((t) => ({ value: t.task_id, text: taskText(t) })), onChange: (task) => change({ task, budget: null, offset: 0 }) }),
      selectField({ label: "base", value: state.base ?? "", options: [{ value: "", text: "all bases" }, ...bases.map((name) => ({ value: name, text: name }))], onChange: (base) => change({ base: base || null, offset: 0 }) }),
      numberField({ label: "top1 at least", unit: "%", value: state.minTop1 ? Number((100 * state.minTop1).toFixed(4)) : null, onChange: (value) => change({ minTop1: value ? value / 100 : null, offset: 0 }) }),
      checkField({ label: "run on the device only", checked: state.isMeasuredOnly, onChange: (on) => change({ isMeasuredOnly: on, offset: 0 }) }),
      checkField({ label: "table: within the budget only", checked: state.isUnderBudget, onChange: (on) => change({ isUnderBudget: on, offset: 0 }) }),
    );
    fields()[at]?.focus({ preventScroll: true });
  }

  function drawPager() {
    const step = (text, offset, isThere) => h("button", { type: "button", class: "button button-small", disabled: !isThere, on: { click: () => change({ offset }) } }, text);
    pager.hidden = state.offset === 0 && !page.next_offset;
    show(pager, step("← earlier rows", Math.max(0, state.offset - PAGE), state.offset > 0), step("later rows →", state.offset + PAGE, Boolean(page.next_offset)));
  }

  let later = 0;
  function setBudget(ms, isFinal) {
    state.budget = ms;
    chart.setBudget(ms);
    drawBudget();
    table.setBudget(page.rows, ms);
    clearTimeout(later);
    // Browsers allow few changes of the address a second.
    later = setTimeout(() => {
      writeState(state);
      announce(`budget ${ms} ms: ${describeBudget(data.front, ms)}`);
      if (isFinal && state.isUnderBudget) reload(loadPage);
    }, isFinal ? 60 : 250);
  }

  function point(id) {
    chart.highlight(id);
    table.highlight(id);
  }

  function change(next) {
    take({ ...state, ...next });
    writeState(state);
  }

  function take(next) {
    const before = state;
    state = { ...next, device: next.device ?? before.device, task: next.task };
    const isOther = (...names) => names.some((name) => state[name] !== before[name]);
    if (isOther("device", "task", "base", "isMeasuredOnly")) reload(load);
    else if (isOther("sort", "offset", "minTop1", "isUnderBudget")) reload(loadPage);
    else if (isOther("zoom", "budget")) draw();
    else if (isOther("compare")) drawTable();
  }

  function reload(what) {
    what().catch((error) => {
      if (!signal.aborted && error.name !== "AbortError") show(pager, problemNote(error));
      pager.hidden = false;
    });
  }

  return { node, load, take };
}
