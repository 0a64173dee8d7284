/** Asks for the token of a service that wants one; the server keeps it in a cookie. */

import { post } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { head } from "./panel.js";
import { problemNote } from "./notes.js";

/** Build the form; `onOpen` is called when the server took the token. */
export function tokenForm(onOpen) {
  const field = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const answer = h("div");
  const form = h(
    "form",
    { class: "note stack" },
    h("label", { for: "token" }, "This service wants a token: the one it was started with (--token-file or NUWA_TOKEN)."),
    h("div", { class: "field-row" }, field, h("button", { class: "button button-main" }, "open")),
    answer,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/session", { token: field.value });
      onOpen();
    } catch (problem) {
      show(answer, problemNote(problem));
      field.focus();
    }
  });
  return h("div", null, head("Token"), form);
}
