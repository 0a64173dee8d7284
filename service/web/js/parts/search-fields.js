/** The fields of the form that starts a search, as the API describes them. */

import { h } from "../core/dom.js";

/**
 * Split the fields that the API describes into those that are shown at once and the rest.
 * @param {{fields: object[]}} options The answer of `/options`; each field `{name, label, kind, unit, hint, choices, is_needed, is_main, most}`.
 * @returns {{main: object[], more: object[]}}
 */
export function searchFields(options) {
  return { main: options.fields.filter((field) => field.is_main), more: options.fields.filter((field) => !field.is_main) };
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
    { class: field.kind === "list" ? "form-field form-wide" : "form-field", data: { field: field.name } },
    h("label", { for: id }, field.label, field.is_needed && h("span", { class: "muted" }, " (needed)")),
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
  const about = { id, name: field.name, required: field.is_needed };
  if (field.kind === "choice") {
    return h("select", about, field.choices.map((c) => h("option", { value: c.value, selected: c.value === value }, c.text)));
  }
  if (field.kind === "switch") return h("input", { ...about, type: "checkbox", checked: Boolean(value) });
  if (field.kind === "text" || field.kind === "list") {
    // a size that is no square is a list of height and width, also among several
    const parts = Array.isArray(value) ? value.map((part) => [part].flat().join("x")) : [value ?? ""];
    const text = parts.join(field.kind === "list" ? ", " : "x");
    return h("input", { ...about, type: "text", value: text, list: field.choices?.length ? `${id}-list` : null, autocomplete: "off", spellcheck: "false" });
  }
  const steps = { number: "any", count: 1, whole: 1 };
  return h("input", { ...about, type: "number", inputmode: "decimal", step: steps[field.kind], min: field.kind === "count" ? 1 : 0, max: field.most, value: value ?? "" });
}
