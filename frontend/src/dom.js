// Elements without HTML strings: names come from strangers, so text only ever goes in as text.

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Element} element
 * @param {Record<string, any>} attributes  "on..." adds a listener, true sets an empty attribute, null/false leaves it out
 * @param {(Child | Child[])[]} children
 */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** An HTML element. @param {string} tag @returns {any} */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. @param {string} tag @returns {any} */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A link; only to pages of this site, since data must not choose the protocol ("javascript:"). */
export function link(path, ...children) {
  return h("a", { href: local(path) }, ...children);
}

/** A path relative to the page, from one relative to the site. Anything with a scheme becomes harmless. */
export function local(path) {
  const root = document.documentElement.dataset.root ?? "";
  return /^[a-z][a-z0-9+.-]*:|^\/|\\/i.test(path) ? "#" : root + path;
}

/** A page with its query. @param {string} page @param {Record<string, string | null | undefined>} query */
export function address(page, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return page + "?" + new URLSearchParams(/** @type {any} */ (given)).toString();
}

/** A labelled <select>. @param {string} label @param {{value: string, title: string}[]} options */
export function choice(label, options, value, onchange) {
  const list = options.map((o) => h("option", { value: o.value, selected: o.value === value }, o.title));
  const select = h("select", { onchange: (/** @type {any} */ e) => onchange(e.target.value) }, list);
  return h("label", { class: "choice" }, h("span", {}, label), select);
}

/** A button that stays pressed. @param {string} text @param {boolean} pressed @param {(on: boolean) => void} onchange */
export function toggle(text, pressed, onchange) {
  const button = h("button", { type: "button", class: "toggle", "aria-pressed": String(pressed) }, text);
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    onchange(on);
  });
  return button;
}

export function badge(text, kind, title) {
  return h("span", { class: `badge ${kind}`, title }, text);
}
