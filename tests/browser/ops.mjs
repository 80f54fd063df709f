// Runs every conformance case in both browsers, on WebGPU and on both variants of the wasm, and writes
// the results of each into FOLDER/BROWSER-RUN.json: `cargo xtask ops` makes a table of them.
//
//   node tests/browser/ops.mjs FOLDER

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { casesIn, RUNS } from "./kernels.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node tests/browser/ops.mjs FOLDER");
for (const browser of /** @type {const} */ (["chromium", "firefox"])) {
  for (const run of RUNS) {
    const started = performance.now();
    const rows = await casesIn(browser, run);
    await writeFile(path.join(folder, `${browser}-${run.label}.json`), JSON.stringify(rows));
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`  ${browser}, ${run.label}: ${rows.filter((row) => row.pass).length} of ${rows.length} cases, ${seconds} s`);
  }
}
