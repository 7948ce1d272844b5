// Goes through a study page with the keyboard alone: node study_drive.cjs JOB.json (see test_study_browser.py).
// Prints JSON: console errors, requests that were not to files, axe's violations, and what the screens said.
"use strict";
const fs = require("fs");
const path = require("path");
const { pathToFileURL } = require("url");

const job = JSON.parse(fs.readFileSync(process.argv[2], "utf-8"));
const { chromium } = require(path.join(job.modules, "playwright-core"));
const axe = path.join(job.modules, "axe-core", "axe.min.js");
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

(async () => {
  const browser = await chromium.launch({
    executablePath: job.chromium,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"],
  });
  const told = { errors: [], requests: [], axe: [], screens: [], status: "" };
  try {
    const size = { width: job.width, height: job.height };
    const page = await (await browser.newContext({ viewport: size, colorScheme: job.scheme })).newPage();
    page.on("console", (message) => message.type() === "error" && told.errors.push(message.text()));
    page.on("pageerror", (error) => told.errors.push(String(error)));
    page.on("request", (request) => /^(file|data|blob):/.test(request.url()) || told.requests.push(request.url()));
    if (job.forbid_storage) {
      await page.addInitScript(() => Object.defineProperty(window, "localStorage", {
        get() {
          throw new DOMException("forbidden", "SecurityError");
        },
      }));
    }
    await page.goto(pathToFileURL(job.page).href + `?list=${job.list}`);

    async function look(name) {
      if (job.axe && fs.existsSync(axe)) {
        await page.addScriptTag({ path: axe });
        const found = await page.evaluate(() => window.axe.run({ preload: false }));
        told.axe.push(...found.violations.map((v) => `${name}: ${v.id}: ${v.nodes.map((n) => n.html).join(" | ")}`));
      }
      if (job.shots) await page.screenshot({ path: path.join(job.out, `${name}-${job.scheme}-${job.width}.png`) });
    }
    /** Tab until the focused element matches. */
    async function tabTo(selector) {
      for (let k = 0; k < 40; k++) {
        await page.keyboard.press("Tab");
        if (await page.evaluate((s) => document.activeElement.matches(s), selector)) return;
      }
      throw new Error(`Tab does not reach ${selector}`);
    }
    const progress = () => page.$eval("#progress", (p) => p.textContent);
    const shown = (text) => page.waitForFunction(
      (t) => document.getElementById("progress").textContent === t && document.querySelector("canvas"), text);

    await look("welcome");
    told.forgetful = await page.$eval("#forgetful", (p) => !p.hidden);
    if (job.code) {
      await tabTo("#code");
      await page.keyboard.type(job.code);
    }
    await tabTo("button.main");
    await page.keyboard.press("Enter");
    const count = job.answers.length;
    for (let k = 0; k < count; k++) {
      await shown(`Comparison ${k + 1} of ${count}`);
      if (k === 0) {
        await sleep(400);
        await look("comparison");
      }
      if (k === job.reload_at) {
        await page.reload();
        await shown(`Comparison ${k + 1} of ${count}`);
      }
      await page.keyboard.press("Enter"); // without answers it must not go on
      for (const digit of job.answers[k]) await page.keyboard.press(digit);
      if (k === 1) await look("answered");
      await page.waitForFunction(() => !document.querySelector(".steps .main").disabled, null, { timeout: 20000 });
      if (k === job.back_at) {
        await page.keyboard.press("Enter");
        await shown(`Comparison ${k + 2} of ${count}`);
        await page.keyboard.press("Backspace");
        await shown(`Comparison ${k + 1} of ${count}`);
        await page.waitForFunction(() => !document.querySelector(".steps .main").disabled, null, { timeout: 20000 });
      }
      told.screens.push(await progress());
      await page.keyboard.press("Enter");
    }
    await page.waitForSelector("textarea");
    await look("finished");
    told.text = await page.$eval("textarea", (box) => box.value);
    const coming = page.waitForEvent("download");
    await page.keyboard.press("Enter"); // "Save my answers" has the focus
    const download = await coming;
    await download.saveAs(path.join(job.out, download.suggestedFilename()));
    await page.waitForFunction(() => /Saved as/.test(document.querySelector("[role=status]").textContent));
    told.status = await page.$eval("[role=status]", (p) => p.textContent);
    told.body = await page.evaluate(() => document.documentElement.outerHTML);
  } finally {
    await browser.close();
  }
  process.stdout.write(JSON.stringify(told));
})().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
