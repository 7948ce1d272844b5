// The statistics page is complete without scripts; this shows one column of the table at a time. Other pages have no such
// sections.
import { choice } from "./dom.js";

export function chooseColumn() {
  /** @type {HTMLElement[]} */
  const sections = [...document.querySelectorAll("section[data-column]")].map(
    (element) => /** @type {HTMLElement} */ (element),
  );
  if (sections.length < 2) return;
  const options = sections.map((section) => ({
    value: section.dataset.column ?? "",
    title: section.querySelector("h2, h3")?.textContent ?? section.dataset.column ?? "",
  }));
  const show = (key) =>
    sections.forEach((section) => {
      section.hidden = section.dataset.column !== key;
    });
  const asked = new URLSearchParams(location.search).get("metric");
  const first = options.some((option) => option.value === asked) ? asked : options[0].value;
  const select = choice("Column", options, first, show);
  select.classList.add("toolbar");
  sections[0].before(select);
  show(first);
}
