/** Form fields that several views use. */

import { h } from "../core/dom.js";

/**
 * A labelled select.
 * @param {{label: string, value: string, options: {value: string, text: string}[], onChange: (value: string) => void}} about
 */
export function selectField({ label, value, options, onChange }) {
  const field = h(
    "select",
    { on: { change: (event) => onChange(event.target.value) } },
    options.map((option) => h("option", { value: option.value, selected: option.value === value }, option.text)),
  );
  return h("label", { class: "field" }, h("span", { class: "field-name" }, label), field);
}

/** A labelled check box. */
export function checkField({ label, checked, onChange }) {
  const field = h("input", { type: "checkbox", checked, on: { change: (event) => onChange(event.target.checked) } });
  return h("label", { class: "field-check" }, field, h("span", null, label));
}

/** A labelled number with its unit; empty means none. */
export function numberField({ label, unit, value, step = "any", min = 0, onChange }) {
  const field = h("input", {
    type: "number", inputmode: "decimal", step, min, value: value ?? "",
    on: { change: (event) => onChange(event.target.value === "" ? null : Number(event.target.value)) },
  });
  return h("label", { class: "field" }, h("span", { class: "field-name" }, label), h("span", { class: "field-unit" }, field, unit));
}
