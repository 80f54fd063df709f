// The benchmark: ours and the peers in one headless Chromium, taking turns. `cargo xtask bench` sets
// everything up and calls this; `--help` there tells the options.

import { parseArgs } from "node:util";
import { describeBrowser, launch } from "../tests/browser/browsers.mjs";
import { writeMeasurement } from "../tests/browser/measure.mjs";
import { absent, disagreement, limits, ratio, row } from "./figures.mjs";
import { writeDocs } from "./docs.mjs";
import { writeRoofline } from "./roofline.mjs";
import { loadEngine, openSite } from "./site.mjs";
import { printLimits, printRows } from "./table.mjs";
import { WORKLOADS } from "./workloads.mjs";

const RUNNERS = ["potluck", "jax-js", "tfjs"];
const BACKENDS = ["webgpu", "wasm"];

/** What a runner cannot do at all, and why; tried by hand at these versions. */
const ABSENT = [
  { runner: "tfjs", backend: "wasm", workload: /^cnn/, why: "tfjs 4.22.0 has no gradient of a convolution on wasm" },
];

/** Iterations that are not counted: compilers and clocks of the machine settle. One where they are slow. */
const SETTLE = 2;
const SETTLE_MILLIS = 5000;

/** Quick workloads go on for this long, so that a median is one. */
const MEASURE_MILLIS = 2000;
const ITERATIONS_MAX = 60;

/** Slow ones end after the fewest that make a median: a software adapter takes a minute for some of these steps. */
const SLOW_MILLIS = 60_000;
const ITERATIONS_MIN = 5;

/** The slowest single answer: the first step of the slowest peer on a software adapter. */
const COMMAND_MILLIS = 900_000;

/** Fresh browsers in which our warm-up is taken, since it happens once in each. */
const WARM_RUNS = 3;

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    runner: { type: "string" },
    backend: { type: "string" },
    steps: { type: "string", default: "7" },
    roofline: { type: "boolean", default: false },
    "write-docs": { type: "boolean", default: false },
  },
});

/** @param {string | undefined} given @param {string[]} known @param {string} what */
function chosen(given, known, what) {
  const names = given?.split(",") ?? known;
  const wrong = names.find((name) => !known.includes(name));
  if (wrong !== undefined) throw new Error(`${wrong} is no ${what}; these are: ${known.join(", ")}`);
  return names;
}

const runners = chosen(options.runner, RUNNERS, "runner");
const backends = chosen(options.backend, BACKENDS, "backend");
const wanted = options.only?.split(",");
const workloads = WORKLOADS.filter(({ name }) => wanted?.some((start) => name.startsWith(start)) ?? true);
const steps = Number(options.steps);
if (workloads.length === 0) throw new Error(`no workload is called ${options.only}; these are: ${WORKLOADS.map(({ name }) => name).join(", ")}`);
if (!Number.isInteger(steps) || steps < 1) throw new Error(`--steps is ${options.steps}, expected a whole number from 1`);

const say = (text) => process.stderr.write(`${text}\n`);

/** A runner's page, ready to begin. */
async function openPage(browser, site, runner, backend) {
  const page = await browser.newPage();
  page.on("console", (message) => message.type() === "error" && say(`  ${runner}: ${message.text()}`));
  page.on("pageerror", (error) => say(`  ${runner}: ${error}`));
  await page.goto(site.address(runner, backend), { waitUntil: "domcontentloaded" });
  await page.waitForFunction(() => "bench" in window);
  return page;
}

const begin = (page, name, backend) =>
  page.evaluate((one, on) => /** @type {any} */ (window).bench.begin(one, on), name, backend);

const iterate = (page) => page.evaluate(() => /** @type {any} */ (window).bench.iterate());

/** The first loss of ours in browsers of their own. @returns {Promise<number[]>} */
async function warmRuns(site, name, backend) {
  const millis = [];
  for (let run = 1; run < WARM_RUNS; run += 1) {
    const browser = await launch("chromium", { commandMillis: COMMAND_MILLIS });
    try {
      const page = await openPage(browser, site, "potluck", backend);
      millis.push((await begin(page, name, backend)).millis);
    } finally {
      await browser.close();
    }
  }
  return millis;
}

/** Everybody's turns at one workload on one backend. */
async function measure(site, workload, backend) {
  const { name } = workload;
  const browser = await launch("chromium", { commandMillis: COMMAND_MILLIS });
  const called = await describeBrowser(browser);
  const missing = [];
  /** @type {(import("./figures.mjs").Measured & { page: import("puppeteer-core").Page })[]} */
  const entries = [];
  try {
    for (const runner of runners.filter((one) => workload.runners?.includes(one) ?? true)) {
      const never = ABSENT.find((one) => one.runner === runner && one.backend === backend && one.workload.test(name));
      if (never) {
        missing.push(absent(name, runner, called, backend, never.why));
        continue;
      }
      const page = await openPage(browser, site, runner, backend);
      const begun = await begin(page, name, backend).catch((error) => ({ failed: error }));
      if ("failed" in begun) {
        // Ours must run; a peer that cannot is a finding.
        if (runner === "potluck") throw begun.failed;
        missing.push(absent(name, runner, called, backend, String(begun.failed.message).split("\n")[0]));
        say(`  ${runner}: ${begun.failed.message}`);
        continue;
      }
      const { millis, loss, adapter } = begun;
      say(`  ${runner}${adapter ? ` on ${adapter}` : ""}: first loss ${loss} after ${millis.toFixed(0)} ms`);
      entries.push({ workload: name, runner, browser: called, backend, warm: [millis], first: loss, iterations: [], page });
    }
    // A peer that computes something else than the first is a finding; if all of them do, it is us.
    const [ours, ...peers] = entries;
    const wrong = peers.map((peer) => disagreement([ours, peer]));
    if (peers.length > 0 && wrong.every(Boolean)) throw new Error(`the runners do not compute the same: ${wrong[0]}`);
    entries.splice(1, peers.length, ...peers.filter((_, peer) => !wrong[peer]));
    peers.forEach(({ runner }, peer) => {
      if (!wrong[peer]) return;
      missing.push(absent(name, runner, called, backend, `does not compute the same: ${wrong[peer]}`));
      say(`  ${runner} is left out: ${wrong[peer]}`);
    });
    await takeTurns(entries);
  } finally {
    await browser.close();
  }
  const ours = entries.find(({ runner }) => runner === "potluck");
  if (ours && workload.kind === "train") ours.warm.push(...(await warmRuns(site, name, backend)));
  const rows = entries.map((entry) => ({ ...row(entry), ...(entry === ours ? { ratios: ratios(ours, entries) } : {}) }));
  return [...rows, ...missing];
}

const ratios = (ours, entries) => entries.filter((entry) => entry !== ours).map((peer) => ratio(ours, peer));

/** A, B, C, A, B, C, ... */
async function takeTurns(entries) {
  const settling = performance.now();
  for (let turn = 0; turn < SETTLE; turn += 1) {
    if (turn > 0 && performance.now() - settling > SETTLE_MILLIS) break;
    for (const { page } of entries) await iterate(page);
  }
  const started = performance.now();
  for (let turn = 0; turn < ITERATIONS_MAX; turn += 1) {
    const taken = performance.now() - started;
    if (turn >= steps && taken > MEASURE_MILLIS) break;
    if (turn >= ITERATIONS_MIN && taken > SLOW_MILLIS) break;
    for (const entry of entries) entry.iterations.push(await iterate(entry.page));
  }
}

async function measureAll() {
  const site = await openSite(workloads, runners);
  const rows = [];
  try {
    for (const workload of workloads) {
      for (const backend of backends) {
        say(`${workload.name} on ${backend}`);
        rows.push(...(await measure(site, workload, backend)));
        // After each, so that a run that is cut short is not lost.
        writeMeasurement("bench", rows, limits(rows));
      }
    }
  } finally {
    site.close();
  }
  const found = limits(rows);
  printRows(rows);
  printLimits(found);
  return writeMeasurement("bench", rows, found);
}

// What is asked for alone is done alone; the documents want everything.
const onlyRoofline = options.roofline && !options["write-docs"];
const written = [];
if (options.roofline || options["write-docs"]) written.push(await writeRoofline(await loadEngine()));
if (!onlyRoofline) written.push(await measureAll());
if (options["write-docs"]) written.push(...(await writeDocs()));
console.log(`\nwritten: ${written.join(", ")}`);
