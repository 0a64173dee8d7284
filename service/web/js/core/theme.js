/** The switch between the system's theme, light and dark. */

import { h, show } from "./dom.js";

const KEY = "nuwa-theme";
const ORDER = ["system", "light", "dark"];

/** Build the button; each press goes to the next theme. */
export function themeButton() {
  const button = h("button", { type: "button", class: "button button-small", title: "Theme: system, light or dark" });
  const label = () => {
    const theme = document.documentElement.dataset.theme ?? "system";
    const [sign, word] = { system: ["◐", "auto"], light: ["○", "light"], dark: ["●", "dark"] }[theme];
    show(button, sign, h("span", { class: "theme-word" }, `\u00a0${word}`));
    button.setAttribute("aria-label", `theme: ${theme}; press for the next`);
  };
  button.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme ?? "system";
    choose(ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length]);
    label();
  });
  label();
  return button;
}

function choose(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Not remembered then.
  }
}
