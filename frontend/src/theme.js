// Light or dark: as the system says, unless the reader chose.
import { h } from "./dom.js";

const KEY = "bench4d-theme";

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  } // a browser may forbid storage to files
}

function store(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    /* then the choice lasts for this page */
  }
}

export function applyTheme() {
  const theme = stored();
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}

export function addThemeButton() {
  const header = document.querySelector("header.site");
  if (!header) return;
  const dark = () =>
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const button = h("button", { type: "button", class: "theme" });
  const label = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", dark() ? "Light colours" : "Dark colours");
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    store(document.documentElement.dataset.theme);
    label();
    document.dispatchEvent(new Event("theme"));
  });
  label();
  header.append(button);
}
