// Data come as scripts, since pages opened from disk may not fetch: data/NAME.js calls BENCH4D.put("NAME", value).
import { h, local } from "./dom.js";

/** @type {Map<string, {promise: Promise<any>, resolve: (value: any) => void}>} */
const slots = new Map();

function slot(name) {
  let found = slots.get(name);
  if (!found) {
    let resolve = (/** @type {any} */ _) => {};
    const promise = new Promise((done) => {
      resolve = done;
    });
    slots.set(name, (found = { promise, resolve }));
  }
  return found;
}

/** What data scripts call. */
export function put(name, value) {
  slot(name).resolve(value);
}

/** The value of data/NAME.js, loaded once. Rejects if there is no such file. @returns {Promise<any>} */
export function load(name) {
  const known = slots.has(name);
  const { promise } = slot(name);
  if (known) return promise;
  return new Promise((resolve, reject) => {
    promise.then(resolve);
    script(`data/${name}.js`).catch(() => {
      slots.delete(name);
      reject(missing(name));
    });
  });
}

/** Lets a large value go, so that the next load reads it again. */
export function forget(name) {
  slots.delete(name);
}

/** Runs a script of this site. @param {string} path @returns {Promise<void>} */
export function script(path) {
  return new Promise((resolve, reject) => {
    const element = h("script", {
      src: local(path).split("/").map(encodeURIComponent).join("/").replaceAll("%3F", "?"),
    });
    element.onload = () => {
      element.remove();
      resolve();
    };
    element.onerror = () => reject(new Error(path));
    document.head.append(element);
  });
}

function missing(name) {
  return new Error(
    `data/${name}.js is missing from this copy of the site. Copy the whole folder, or build it again with bench4d site.`,
  );
}
