// Bundles src/ into bench4d/site/static/, which is committed: users of the Python package need no Node.
// `node build.mjs` writes; `node build.mjs --check` builds into a temporary folder and compares bytes.
import { build } from "esbuild";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const committed = join(here, "../bench4d/site/static");
const sources = {
  app: "src/app.js",
  viewer: "src/viewer/viewer.js",
  study: "src/study/study.js",
  style: "src/style/style.css",
};
const entries = Object.fromEntries(Object.entries(sources).filter(([, path]) => existsSync(join(here, path))));

/** Writes every bundle into a folder. Classic scripts: pages opened from disk may not load modules. */
async function bundle(folder) {
  await build({
    absWorkingDir: here,
    entryPoints: entries,
    outdir: folder,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "iife",
    target: ["es2022"],
    legalComments: "none",
    logLevel: "warning",
  });
}

/** Names of the bundles that differ between two folders. */
function differing(made, kept) {
  const names = Object.entries(entries).map(([name, path]) => name + path.slice(path.lastIndexOf(".")));
  const read = (folder, name) => {
    try {
      return readFileSync(join(folder, name), "utf8");
    } catch {
      return null;
    }
  };
  return names.filter((name) => read(made, name) !== read(kept, name));
}

if (process.argv.includes("--check")) {
  const made = mkdtempSync(join(tmpdir(), "bench4d-site-"));
  await bundle(made);
  const changed = differing(made, committed);
  rmSync(made, { recursive: true });
  if (changed.length) {
    console.error(
      `bench4d/site/static: expected what frontend/src builds; found another ${changed.join(", ")}. Run: npm run build`,
    );
    process.exit(1);
  }
  console.log("bench4d/site/static is what frontend/src builds");
} else {
  await bundle(committed);
}
