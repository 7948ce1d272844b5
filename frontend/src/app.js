// Entry of every page but the study: the theme, and what fills <main> of the pages that are made in the browser.
import { put } from "./data.js";
import { h } from "./dom.js";
import { addThemeButton, applyTheme } from "./theme.js";
import { tablePage } from "./table/page.js";
import { clipPage } from "./clip/page.js";
import { numberPage } from "./number.js";
import { chooseColumn } from "./statistics.js";

const pages = { table: tablePage, clip: clipPage, number: numberPage };

/** @type {any} */ (window).BENCH4D = { put, script: null };
applyTheme();

async function start() {
  addThemeButton();
  chooseColumn();
  const page = pages[document.documentElement.dataset.page ?? ""];
  const main = document.getElementById("main");
  if (!page || !main) return;
  try {
    const content = await page(new URLSearchParams(location.search));
    main.replaceChildren(...content);
  } catch (error) {
    main.replaceChildren(h("h1", {}, "This page cannot be shown"), h("p", { class: "warning" }, error.message));
    if (!error.expected) console.error(error);
  }
  document.documentElement.dataset.ready = "true";
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
else start();
