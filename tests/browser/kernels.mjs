// Every kernel against its reference, in a real browser: the cases are made, run and judged by
// tests/web, compiled to wasm; here they only become one test each. No adapter is a failure, and
// neither variant of the wasm is left out.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { test } from "node:test";
import { launch } from "./browsers.mjs";
import { at } from "./project.mjs";
import { until } from "./until.mjs";

/** Some hundreds of small cases on a software adapter, each with its own pipelines. */
const RUN_MILLIS = 420_000;

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** What computes, and the variant of the wasm that it is computed with. */
export const RUNS = [
  { label: "webgpu", backend: "webgpu", variant: "simd" },
  { label: "cpu", backend: "cpu", variant: "simd" },
  { label: "cpu-relaxed", backend: "cpu", variant: "relaxed" },
];

const PAGE = `<!doctype html><meta charset="utf-8"><title>Kernels</title><link rel="icon" href="data:,">
<script type="module">
  window.runCases = async (variant, backend) => {
    const { default: init, run_cases, variant: compiled } = await import("./" + variant + "/potluck_tests_web.js");
    await init();
    if (compiled() !== variant) throw new Error("the module at " + variant + " is " + compiled());
    return run_cases(backend);
  };
</script>`;

/** @typedef {{ case: string, op: string, backend: string, error: number, tolerance: number, pass: boolean, failure?: string }} Row */

async function serve() {
  const folder = at("target/web-tests");
  const server = createServer(async (request, response) => {
    const name = path.normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    try {
      const body = name === "/" ? PAGE : await readFile(path.join(folder, name));
      response.setHeader("content-type", TYPES[path.extname(name)] ?? "text/html");
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** @param {import("puppeteer-core").Page} page @param {typeof RUNS[number]} run @returns {Promise<Row[]>} */
async function rowsOf(page, { label, backend, variant }) {
  await page.waitForFunction(() => "runCases" in window);
  // The rows are collected in the page: a driver's single call may not last as long as the run.
  await page.evaluate((variant, backend) => {
    /** @type {any} */
    const hold = {};
    /** @type {any} */ (window).hold = hold;
    /** @type {any} */ (window).runCases(variant, backend).then(
      (rows) => (hold.rows = rows),
      (error) => (hold.error = String(error?.stack ?? error)),
    );
  }, variant, backend);
  const held = () => page.evaluate(() => /** @type {any} */ (window).hold);
  const ended = async () => {
    const hold = await held();
    return hold.rows || hold.error ? hold : null;
  };
  const { rows, error } = await until(`the cases on ${label}`, ended, RUN_MILLIS);
  assert.equal(error, undefined, error);
  return rows;
}

/** Every case in one browser. @param {import("./browsers.mjs").BrowserName} name @param {typeof RUNS[number]} run */
export async function casesIn(name, run) {
  const server = await serve();
  const browser = await launch(name);
  try {
    const page = await browser.newPage();
    page.on("console", (message) => message.type() === "error" && console.log(message.text()));
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    await page.goto(`http://kernels.localhost:${port}/`, { waitUntil: "domcontentloaded" });
    return await rowsOf(page, run);
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}

/** @param {import("./browsers.mjs").BrowserName} name */
export function kernelSuite(name) {
  const called = name === "chromium" ? "Chromium" : "Firefox";
  for (const run of RUNS) {
    test(`${called}: kernels on ${run.label}`, { timeout: RUN_MILLIS + 60_000 }, async (t) => {
      const rows = await casesIn(name, run);
      assert.ok(rows.length > 0, "there are cases");
      for (const row of rows) {
        await t.test(`${called}: ${row.case} on ${run.label}`, () => {
          assert.ok(row.pass, row.failure ?? `error ${row.error} is over the tolerance of ${row.tolerance}`);
        });
      }
    });
  }
}
