// What the tests share: one headless Chromium, and pages opened from disk whose every complaint is kept.
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { chromium } from "playwright-core";

export const site = process.env.BENCH4D_SITE;
if (!site || !existsSync(join(site, "index.html")))
  throw new Error("BENCH4D_SITE: expected the folder of a site, with index.html");

/** @returns {Promise<import("playwright-core").Browser>} WebGL is drawn in software */
export function launch(...more) {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", ...more],
  });
}

/** Opens a page of the site. `complaints` grows with console errors, exceptions, failed and non-file requests, dialogs. */
export async function open(
  browser,
  path,
  { width = 1400, height = 900, dark = false, scripts = true, folder = site } = {},
) {
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    javaScriptEnabled: scripts,
  });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(m.text()));
  page.on("pageerror", (e) => complaints.push(String(e)));
  page.on("requestfailed", (r) => {
    if (r.failure()?.errorText !== "net::ERR_ABORTED") complaints.push(`${r.url()}: ${r.failure()?.errorText}`);
  });
  page.on("request", (r) => {
    if (!/^(file|data|blob):/.test(r.url())) complaints.push(`asks the network for ${r.url()}`);
  });
  page.on("dialog", (d) => {
    complaints.push(`dialog: ${d.message()}`);
    d.dismiss();
  });
  await page.goto(
    pathToFileURL(join(folder, path.split("?")[0])).href + (path.includes("?") ? "?" + path.split("?")[1] : ""),
  );
  if (scripts && /^(index|clip|number)\.html/.test(path)) await page.waitForSelector("html[data-ready]");
  return { page, complaints, close: () => context.close() };
}

/** A datum of the site, as the pages get it. */
export async function datum(browser, name) {
  const { page, close } = await open(browser, "benchmark.html");
  const value = await page.evaluate(
    (name) =>
      new Promise((resolve) => {
        globalThis.BENCH4D = { put: (_, value) => resolve(value) };
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        document.head.append(script);
      }),
    name,
  );
  await close();
  return value;
}

export function query(page, values) {
  return `${page}?${new URLSearchParams(values)}`;
}
