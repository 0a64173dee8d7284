/** What is shown in place of figures: nothing there yet, something wrong, still loading. */

import { h } from "../core/dom.js";
import { copyButton } from "../core/copy.js";
import { onDatabase } from "../core/database.js";

/** One line of a command with a button that copies it. */
export function commandLine(given, what = "") {
  const command = onDatabase(given);
  return h(
    "div",
    { class: "command" },
    what && h("div", { class: "command-what" }, what),
    h("div", { class: "command-line" }, h("code", null, command.split(" ").map((word, k) => [k > 0 && " ", h("span", { class: "word" }, word)])), copyButton("copy", () => command)),
  );
}

/**
 * An empty state: what is missing, and the command that fills it.
 * @param {string} text
 * @param {string} command
 * @param {unknown} [more] Further nodes, such as a link to the form that does the same.
 */
export function emptyNote(text, command, more = null) {
  return h("div", { class: "note" }, h("p", null, text), command && commandLine(command), more);
}

/** A failure in the server's words, with its hint. */
export function problemNote(problem) {
  return h(
    "div",
    { class: "note note-bad", role: "alert" },
    h("p", null, problem.message),
    problem.hint && h("p", { class: "hint" }, "hint: ", h("code", null, problem.hint)),
  );
}

/** While something is on its way. */
export function loadingNote() {
  return h("p", { class: "loading", role: "status" }, "loading…");
}
