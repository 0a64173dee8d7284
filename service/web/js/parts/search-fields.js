/** The fields of the form that starts a search, filled from what the API offers. */

import { h } from "../core/dom.js";

/**
 * List the fields.
 * @param {object} options The answer of `/options`.
 * @returns {{main: object[], more: object[]}} Each `{name, label, kind, unit, choices, hint, needed}`.
 */
export function searchFields(options) {
  const choose = (values) => values.map((value) => ({ value, text: value }));
  const main = [
    { name: "budget_ms", label: "latency budget", kind: "number", unit: "ms", needed: true, hint: "what the compiled model must meet on the device" },
    { name: "device", label: "device", kind: "choice", choices: options.devices.map((d) => ({ value: d.name, text: `${d.name} (${d.provenance}${d.is_profiled || d.kind === "emulated" ? "" : ", not profiled yet"})` })) },
    { name: "trials", label: "subnets to score", kind: "count" },
    { name: "base", label: "base", kind: "text", choices: options.bases.map((b) => ({ value: b.name, text: b.title })), hint: "default, or a folder in the data roots of this service" },
    { name: "data", label: "images", kind: "text", choices: options.data.filter((d) => d.name).map((d) => ({ value: d.name, text: d.title })), hint: "empty: the sample in the package; needed with a base of your own" },
    { name: "finetune_steps", label: "fine-tuning steps", kind: "count", hint: "empty: as many as it takes" },
    { name: "classes", label: "classes", kind: "list", hint: classesHint(options), wide: true },
  ];
  const more = [
    { name: "study", label: "name", kind: "text", hint: "empty: made from device and budget" },
    { name: "budget_statistic", label: "budget compares", kind: "choice", choices: choose(options.budget_statistics) },
    { name: "sampler", label: "Optuna sampler", kind: "choice", choices: choose(options.samplers) },
    { name: "seed", label: "seed", kind: "whole" },
    { name: "timeout_s", label: "time", kind: "number", unit: "s", hint: "empty: no limit" },
    { name: "max_memory_mb", label: "memory at most", kind: "number", unit: "MB", hint: "empty: no limit" },
    { name: "judge", label: "short fine-tunings", kind: "count", hint: "1 takes the best by KL" },
    { name: "label_column", label: "label column", kind: "text", hint: "of Parquet files; empty: the usual ones" },
    { name: "finetune", label: "fine-tune the winner", kind: "switch" },
    { name: "deploy", label: "export, build and verify", kind: "switch" },
    { name: "pareto", label: "search the whole front", kind: "switch" },
  ];
  return { main, more };
}

/**
 * Build one field with its hint and room for its error.
 * @param {object} field From `searchFields`.
 * @param {unknown} value
 */
export function fieldNode(field, value) {
  const id = `f-${field.name}`;
  const input = inputOf(field, id, value);
  const hint = field.hint && h("span", { class: "field-hint", id: `${id}-hint` }, field.hint);
  const error = h("span", { class: "field-error", id: `${id}-error`, role: "alert" });
  input.setAttribute("aria-describedby", `${hint ? `${id}-hint ` : ""}${id}-error`);
  if (field.kind === "switch") {
    return h("div", { class: "form-field form-switch", data: { field: field.name } }, h("label", { class: "field-check", for: id }, input, field.label), error);
  }
  const choices = field.kind === "text" && field.choices?.length
    ? h("datalist", { id: `${id}-list` }, field.choices.map((c) => h("option", { value: c.value }, c.text)))
    : null;
  return h(
    "div",
    { class: field.wide ? "form-field form-wide" : "form-field", data: { field: field.name } },
    h("label", { for: id }, field.label, field.needed && h("span", { class: "muted" }, " (needed)")),
    h("span", { class: "field-unit" }, input, field.unit),
    choices,
    hint,
    error,
  );
}

/** Read all fields of a form as the body of `POST /searches`; empty fields are left to their defaults. */
export function bodyFrom(form, fields) {
  const body = {};
  for (const field of fields) {
    const input = form.elements[field.name];
    const text = input.value.trim();
    if (field.kind === "switch") body[field.name] = input.checked;
    else if (text === "") continue;
    else if (["number", "count", "whole"].includes(field.kind)) body[field.name] = Number(text);
    else if (field.kind === "list") body[field.name] = text.split(",").map((part) => part.trim()).filter(Boolean);
    else body[field.name] = text;
  }
  return body;
}

function inputOf(field, id, value) {
  const about = { id, name: field.name, required: field.needed };
  if (field.kind === "choice") {
    return h("select", about, field.choices.map((c) => h("option", { value: c.value, selected: c.value === value }, c.text)));
  }
  if (field.kind === "switch") return h("input", { ...about, type: "checkbox", checked: Boolean(value) });
  if (field.kind === "text" || field.kind === "list") {
    const text = Array.isArray(value) ? value.join(", ") : (value ?? "");
    return h("input", { ...about, type: "text", value: text, list: field.choices?.length ? `${id}-list` : null, autocomplete: "off", spellcheck: "false" });
  }
  const steps = { number: "any", count: 1, whole: 1 };
  return h("input", { ...about, type: "number", inputmode: "decimal", step: steps[field.kind], min: field.kind === "count" ? 1 : 0, value: value ?? "" });
}

function classesHint(options) {
  const sample = options.data.find((d) => d.name === null)?.classes;
  return `names with commas between; empty: all${sample ? ` (the sample has ${sample.join(", ")})` : ""}`;
}
