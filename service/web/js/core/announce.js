/** Says something to screen readers without moving the focus. */

let timer = 0;

/** Announce `text` once things have been quiet for a moment, so that dragging does not flood the reader. */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const node = document.getElementById("announcer");
    if (node) node.textContent = text;
  }, 300);
}
