/** Copies text, also where the page is not served over a trusted connection. */

import { announce } from "./announce.js";
import { h } from "./dom.js";

/**
 * Build a button that copies text and says so.
 * @param {string} label
 * @param {() => string} text Asked for when the button is pressed.
 */
export function copyButton(label, text) {
  const button = h("button", { type: "button", class: "button button-small" }, label);
  button.addEventListener("click", async () => {
    const done = await copyText(text());
    button.textContent = done ? "copied" : "not copied";
    announce(done ? "copied" : "copying was refused");
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const field = h("textarea", { class: "sr-only", readonly: true });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
