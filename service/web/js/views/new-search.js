/** The form that starts a search. */

import { Problem, get, post } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { routeTo } from "../core/route.js";
import { commandLine, problemNote } from "../parts/notes.js";
import { head, panel } from "../parts/panel.js";
import { bodyFrom, fieldNode, searchFields } from "../parts/search-fields.js";

/** Build the view; parameters of the address fill fields of the same name. */
export async function view({ query, signal }) {
  const options = await get("/options", {}, { signal });
  const { main, more } = searchFields(options);
  const fields = [...main, ...more];
  const values = { ...options.defaults, ...Object.fromEntries(query) };
  const answer = h("div");
  const fold = h("details", { class: "fold" }, h("summary", null, "more settings"), h("div", { class: "form-grid" }, more.map((f) => fieldNode(f, values[f.name]))));
  const button = h("button", { class: "button button-main" }, "start the search");
  const form = h("form", { class: "stack", novalidate: true },
    h("div", { class: "form-grid" }, main.map((f) => fieldNode(f, values[f.name]))), fold, answer,
    h("div", { class: "form-end" }, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearErrors(form);
    show(answer);
    button.disabled = true;
    try {
      const body = bodyFrom(form, fields);
      if (!(body.budget_ms > 0)) throw needsBudget();
      const search = await post("/searches", body, { signal });
      location.hash = routeTo(["searches", search.study]);
    } catch (problem) {
      if (signal.aborted) return;
      showProblem(problem, { form, fold, answer });
    } finally {
      button.disabled = false;
    }
  });
  const node = h(
    "div",
    { class: "stack narrow" },
    head("Start a search", { crumb: h("a", { href: routeTo(["searches"]) }, "Searches") }),
    options.num_workers === 0 && h("div", { class: "note" },
      h("p", null, "No worker is running, so a search would wait in the queue until one is started:"), commandLine("nuwa worker")),
    panel("Settings", form, { note: "those of nuwa-search; what is empty takes its default" }),
  );
  return { title: "Start a search", node };
}

function needsBudget() {
  const where = "body.budget_ms";
  return new Problem("a search needs a latency budget above 0 ms", { errors: [{ where, what: "a number of milliseconds above 0" }] });
}

/** Show errors at their fields, and the rest with its hint above the button; the first one gets the focus. */
function showProblem(problem, { form, fold, answer }) {
  const loose = [];
  let first = null;
  for (const error of problem.errors ?? []) {
    const name = String(error.where ?? "").split(".")[1] ?? "";
    const input = name && form.elements[name];
    if (!input) {
      loose.push(`${error.where}: ${error.what}`);
      continue;
    }
    input.setAttribute("aria-invalid", "true");
    form.querySelector(`#f-${CSS.escape(name)}-error`).textContent = error.what;
    if (fold.contains(input)) fold.open = true;
    first ??= input;
  }
  show(answer, problemNote(problem), loose.map((text) => h("p", { class: "bad small" }, text)));
  if (first) first.focus();
}

function clearErrors(form) {
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const node of form.querySelectorAll(".field-error")) node.textContent = "";
}
