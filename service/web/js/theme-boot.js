// Sets the chosen theme before anything is drawn; not a module, so that it runs first.
(() => {
  try {
    const theme = localStorage.getItem("nuwa-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; then the system decides.
  }
})();
