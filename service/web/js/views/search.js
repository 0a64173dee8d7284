/** One search: live while it runs, its answer when it is done. */

import { curve } from "../chart/curve.js";
import { trialsChart } from "../chart/trials.js";
import { apiUrl, get, pathOf, post } from "../core/api.js";
import { announce } from "../core/announce.js";
import { h, show } from "../core/dom.js";
import { classesText, isNumber, milliseconds, moment, percent, share, wilson } from "../core/figures.js";
import { routeTo } from "../core/route.js";
import { follow } from "../core/stream.js";
import { stateBadge } from "../parts/badges.js";
import { commandLine, problemNote } from "../parts/notes.js";
import { facts, figure, head, panel } from "../parts/panel.js";
import { SearchLog, trialFigures } from "../parts/search-log.js";
import { searchResult } from "../parts/search-result.js";
import { meters, stepList } from "../parts/search-progress.js";

const DRAW_MS = 200; // between two drawings while events pour in
const ASK_MS = 2000; // between two questions for trials with their hypervolume
const MOST_TRIALS = 5000;
const LINES = { live: "● live", waiting: "○ connection lost, trying again", lost: "○ no live events", ended: "" };

/** Build the view. */
export async function view({ path, signal }) {
  const made = searchView({ study: path[1], signal });
  await made.refresh();
  made.listen();
  return { title: path[1], node: made.node };
}

function searchView({ study, signal }) {
  const place = (...rest) => pathOf("searches", study, ...rest);
  const log = new SearchLog();
  let search = null;
  let trials = [];
  let connection = null;

  const badge = h("span");
  const line = h("span", { class: "live-line small muted", role: "status" });
  const tools = h("span", { class: "tools" });
  const top = h("div", { class: "figures" });
  const progress = h("div", { class: "stack" });
  const answer = h("div", { class: "stack" });
  const steps = h("div");
  const about = h("div", { class: "stack" });
  const settings = h("div");
  const areas = curve({ label: "hypervolume over trials", xName: "trial", yName: "hypervolume, ms × nats", isStairs: true });
  const tuning = curve({ label: "accuracy on the search split while fine-tuning", xName: "step", yName: "accuracy, search split", yText: (v, d) => percent(v, Math.max(0, d - 2)) });
  const scatter = trialsChart();
  const trialsNote = h("span", null, "latency predicted");
  const tuningPanel = panel("Fine-tuning", tuning.node);
  const studyPanel = panel("Trials", scatter.node, { note: trialsNote });
  const areaPanel = panel("Hypervolume over trials", areas.node, { note: "of the front" });
  signal.addEventListener("abort", () => [areas, tuning, scatter].forEach((c) => c.destroy()), { once: true });
  const node = h(
    "div",
    { class: "stack" },
    head(study, { crumb: h("a", { href: routeTo(["searches"]) }, "Searches"), beside: [badge, line], tools }),
    top, answer, progress,
    h("div", { class: "columns columns-three" }, studyPanel, areaPanel, tuningPanel),
    h("div", { class: "columns" }, h("div", { class: "stack" }, panel("Steps", steps), settings), about),
  );

  async function refresh() {
    const [found, list] = await Promise.all([
      get(place(), {}, { signal }),
      get(place("trials"), { limit: MOST_TRIALS }, { signal }).catch((error) => (error.name === "AbortError" ? Promise.reject(error) : { rows: [] })),
    ]);
    search = found;
    trials = list.rows;
    draw();
  }

  function listen() {
    const ask = lazily(ASK_MS, () => refresh().catch(() => {}), signal);
    const paint = lazily(DRAW_MS, draw, signal);
    connection = "live";
    follow(apiUrl(place("events")), {
      after: log.last,
      signal,
      onEvent(event) {
        if (!log.take(event)) return;
        paint();
        if (["trial", "state", "end", "winner-measured"].includes(event.kind)) ask();
        if (event.kind === "state") announce(`search is ${event.data?.data?.state}`);
      },
      onState(state, problem) {
        connection = state;
        line.title = problem?.message ?? "";
        if (state === "live" || state === "ended") ask();
        paint();
      },
    });
  }

  function draw() {
    if (!search) return;
    const merged = mergedTrials(trials, log.trials);
    const figures = trialFigures(merged);
    const isOver = ["done", "infeasible", "interrupted", "failed"].includes(search.state);
    show(badge, stateBadge(search.state, search.is_alive));
    line.textContent = isOver ? "" : (LINES[connection] ?? "");
    show(tools, buttons());
    show(top, topFigures(figures));
    show(progress, isOver ? null : panel("Now", meters({ search, log, figures })));
    show(answer, answerOf());
    areas.update(merged.filter((t) => isNumber(t.hypervolume)).map((t) => [t.number, t.hypervolume]));
    scatter.update({ trials: merged, budgetMs: search.budget_ms });
    if (search.budgets.length > 1) trialsNote.textContent = `latency predicted on ${search.device}`;
    const tuned = log.finetune.filter((f) => isNumber(f.accuracy_search ?? f.top1_search));
    tuning.update(tuned.map((f) => [f.step, f.accuracy_search ?? f.top1_search]));
    tuningPanel.hidden = tuned.length < 2;
    areaPanel.hidden = studyPanel.hidden = !merged.length && isOver;
    show(steps, stepList(log.steps, { isRead: connection === "ended" }));
    show(about, aboutParts());
    show(settings, settingsPart());
  }

  function topFigures({ best, proposed, feasible, scored }) {
    const wanted = search.progress?.trials_wanted ?? log.wanted;
    return [
      ...search.budgets.map((one) => figure("budget", milliseconds(one.budget_ms), h("a", { href: routeTo(["devices", one.device]) }, one.device))),
      figure("best by KL", best ? share(best.top1_search, wilson(best.top1_search, best.num_images)) : "–", best ? `${isNumber(best.top1_search) ? "top1 of " : ""}${best.num_images ?? "–"} search images, KL ${best.kl.toFixed(3)}, ${milliseconds(best.predicted_latency_ms)} predicted` : "nothing scored yet"),
      figure("subnets scored", `${scored}${wanted >= scored ? ` of ${wanted}` : ""}`, `${proposed} proposed${wanted < scored ? `, ${wanted} asked for` : ""}`),
      figure("feasible", proposed ? percent(feasible / proposed, 0) : "–", "of proposals, by prediction"),
    ];
  }

  function answerOf() {
    const parts = [];
    if (search.problem) parts.push(problemNote(search.problem));
    if (search.result) parts.push(panel("Result", searchResult(search.result)));
    if (search.state === "queued" && !search.job?.worker) {
      parts.push(h("div", { class: "note" }, h("p", null, "It waits for a worker. Where none is running, start one:"), commandLine("nuwa worker")));
    }
    if (search.state === "running" && !search.is_alive) parts.push(h("div", { class: "note" }, h("p", null, "Its process gave no sign of life for a minute. It can be resumed; nothing is lost.")));
    return parts;
  }

  function buttons() {
    const wanted = search.job?.is_cancel_wanted && search.state === "running";
    return [
      search.can_cancel && h("button", { type: "button", class: "button", disabled: wanted, on: { click: () => act("cancel") } }, wanted ? "stopping…" : "cancel"),
      search.can_resume && !["done", "infeasible"].includes(search.state) && h("button", { type: "button", class: "button button-main", on: { click: () => act("resume") } }, "resume"),
    ];
  }

  async function act(what) {
    try {
      search = await post(place(what), {}, { signal });
      announce(what === "cancel" ? "cancelling" : "resumed");
      draw();
      if (what === "resume" && connection === "ended") listen();
    } catch (problem) {
      if (!signal.aborted) show(answer, problemNote(problem));
    }
  }

  function aboutParts() {
    return [
      panel("Task", facts([
        ["base", search.base], ["classes", classesText(search.classes, 8)], ["data", search.data ?? "simulated-textiles"],
        ["begun", moment(search.created_at)], ["ended", search.finished_at && moment(search.finished_at)], ["worker", search.job?.worker],
      ])),
      panel("Commands", [
        (search.commands ?? []).map((c) => commandLine(c.command, c.what)),
        search.optuna && commandLine(search.optuna.command, h("span", null, "look at the raw study in Optuna Dashboard, then open ", h("a", { href: "http://127.0.0.1:8080/", rel: "noreferrer" }, "127.0.0.1:8080"))),
      ]),
    ];
  }

  function settingsPart() {
    const shown = Object.entries(search.settings ?? {}).filter(([, value]) => value !== null && value !== "" && value !== false && typeof value !== "object");
    return panel("Settings", facts(shown.map(([name, value]) => [name, String(value)])));
  }

  return { node, refresh, listen };
}

/** Trials of the API with those that only the events know yet. */
function mergedTrials(rows, live) {
  const all = new Map([...live].concat(rows.map((row) => [row.number, row])));
  return [...all.values()].sort((a, b) => a.number - b.number);
}

/** Call `work` at most once per `wait` milliseconds, and once more after the last wish. */
function lazily(wait, work, signal) {
  let timer = 0;
  return () => {
    if (timer || signal.aborted) return;
    timer = setTimeout(() => {
      timer = 0;
      if (!signal.aborted) work();
    }, wait);
  };
}
