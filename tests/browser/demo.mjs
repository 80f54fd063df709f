// `cargo xtask demo`: a coordinator with the digits job, another site that embeds it with one tag,
// and one visitor in each browser that is here, who says yes. Prints how the training goes, what
// came out and who gave what; writes target/measure/demo.json.
//
//   --open    leave the coordinator running afterwards, for a person's own browser

import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { parseArgs } from "node:util";
import { BROWSERS, describeBrowser, findBrowser, launch } from "./browsers.mjs";
import { Coordinator, POTLUCK } from "./coordinator.mjs";
import { HostSite } from "./host.mjs";
import { atLeast, below, writeMeasurement } from "./measure.mjs";
import { decimal, flopsInWords, percent, Progress, table } from "./progress.mjs";
import { at, ROOT } from "./project.mjs";
import { until } from "./until.mjs";
import { Visitor } from "./visitor.mjs";

const JOB = "digits";

/** What the demo promises on two cores without a GPU. */
const ACCURACY_MIN = 0.95;
const WEBGPU_SHARE_MIN = 0.8;
const BROWSER_SHARE_MIN = 0.25;
const TRAINING_SECONDS_MAX = 180;

/** A machine that is ten times slower than promised still gets its result. */
const TRAINING_MILLIS_MAX = 1_800_000;

/** Versions that are printed; a job of 60,000 samples makes more than a hundred. */
const VERSION_ROWS_MAX = 24;

/** Native volunteers where there is no browser: one a core on the smallest machine. */
const NATIVE_VOLUNTEERS = 2;

/** @typedef {{ name: string, called: string, browser: import("puppeteer-core").Browser, visitor: Visitor }} Guest */

/** @param {HostSite} host @returns {Promise<Guest[]>} */
async function invite(host) {
  const guests = [];
  for (const name of BROWSERS) {
    if (findBrowser(name) === null) {
      console.log(`  ${name} is not installed`);
      continue;
    }
    const browser = await launch(name);
    const address = host.address({ attributes: { "data-backend": "webgpu" } });
    const visitor = await Visitor.arrive(browser, address);
    await visitor.waitForScene(["asking"]);
    guests.push({ name, called: await describeBrowser(browser), browser, visitor });
  }
  return guests;
}

/** Everybody says yes at once, then lets the whole device be used. @param {Guest[]} guests */
async function sayYes(guests) {
  await Promise.all(
    guests.map(async ({ called, visitor }) => {
      await visitor.sayYes();
      await visitor.giveEverything();
      console.log(`  ${called} said yes`);
    }),
  );
}

/** @param {Coordinator} coordinator */
function nativeVolunteers(coordinator) {
  const words = ["volunteer", `http://127.0.0.1:${coordinator.port}`, "--job", JOB];
  return Array.from({ length: NATIVE_VOLUNTEERS }, () => spawn(POTLUCK, words, { stdio: "ignore" }));
}

/** @param {Record<string, any>[]} tally @param {Record<string, any>} row */
const nameOf = (tally, row) => `visitor ${tally.indexOf(row) + 1}`;

/** Follows the job to its end and its last evaluation. @param {Coordinator} coordinator */
async function follow(coordinator) {
  const progress = new Progress();
  const started = performance.now();
  let trained = 0;
  await until("the job to finish", async () => {
    const status = await coordinator.status();
    const tally = await coordinator.contributions();
    progress.show(status, tally.map((row) => `${row.agent ?? row.volunteer.slice(0, 8)}: ${row.tasks}`).join(", "));
    if (status.phase !== "finished") return false;
    trained ||= (performance.now() - started) / 1000;
    const last = (await coordinator.history()).find((row) => row.version === status.version);
    return last?.test_accuracy !== null && last?.test_accuracy !== undefined;
  }, TRAINING_MILLIS_MAX);
  progress.end();
  return trained;
}

/** The first, the last, and as many between them as a screen holds. @param {Record<string, any>[]} history */
function printVersions(history) {
  const every = Math.ceil(history.length / VERSION_ROWS_MAX);
  const shown = history.filter((_, index) => index % every === 0 || index === history.length - 1);
  const rows = shown.map((row) => [`v${row.version}`, row.samples, decimal(row.loss), percent(row.accuracy)]);
  console.log(table([["version", "samples", "loss", "accuracy"], ...rows]));
  if (every > 1) console.log(`  (every ${every}th; all ${history.length} are in the measurement)`);
}

/** @param {Record<string, any>[]} tally @param {number} total */
function printTally(tally, total) {
  const head = ["visitor", "browser", "adapter", "backend", "tasks", "samples", "work", "share"];
  const rows = tally.map((row) => [
    nameOf(tally, row),
    row.agent ?? "–",
    row.adapter || "–",
    row.backend ?? "–",
    row.tasks,
    row.samples,
    flopsInWords(row.flops),
    percent(row.samples / total),
  ]);
  console.log(table([head, ...rows]));
}

/**
 * @param {Record<string, any>[]} tally
 * @param {number} total samples of everybody
 * @param {Guest[]} guests
 * @param {number} accuracy
 * @param {number} seconds
 */
function limitsOf(tally, total, guests, accuracy, seconds) {
  const given = (keep) => tally.filter(keep).reduce((sum, row) => sum + row.samples, 0) / total;
  const webgpu = given((row) => row.backend === "webgpu");
  const limits = [
    atLeast("test accuracy", ACCURACY_MIN, accuracy),
    below("training seconds", TRAINING_SECONDS_MAX, seconds),
  ];
  if (guests.length === 0) return limits;
  limits.push(atLeast("share of samples by WebGPU tabs", WEBGPU_SHARE_MIN, webgpu));
  for (const { called } of guests) {
    limits.push(atLeast(`share of samples by ${called}`, BROWSER_SHARE_MIN, given((row) => row.agent === called)));
  }
  return limits;
}

/** @param {Coordinator} coordinator @param {Guest[]} guests @param {number} seconds */
async function report(coordinator, guests, seconds) {
  const [status, history, tally] = await Promise.all([
    coordinator.status(),
    coordinator.history(),
    coordinator.contributions(),
  ]);
  const total = tally.reduce((sum, row) => sum + row.samples, 0);
  const accuracy = history.find((row) => row.version === status.version)?.test_accuracy ?? 0;
  const model = "target/demo/model.safetensors";
  await coordinator.saveModel(at(model));
  console.log();
  printVersions(history);
  console.log();
  printTally(tally, total);
  const limits = limitsOf(tally, total, guests, accuracy, seconds);
  const visits = tally.map(({ agent, adapter, backend, tasks, samples, flops }, index) => ({
    visitor: index + 1,
    browser: agent,
    adapter,
    backend,
    tasks,
    samples,
    flops,
  }));
  const versions = history.map(({ version, loss, accuracy: share }) => ({ version, loss, accuracy: share }));
  const file = writeMeasurement("demo", [...visits, ...versions], limits);
  console.log();
  for (const { what, limit, value, holds } of limits) {
    console.log(`  ${holds ? "holds" : "BROKEN"}  ${what}: ${Number(value.toFixed(3))}, limit ${limit}`);
  }
  console.log(`\n  measured    ${path.relative(ROOT, file)}\n  model       ${model}`);
  console.log(`\ntest accuracy ${percent(accuracy)} after ${seconds.toFixed(1)} s of training`);
  console.log(`${guests.length} browser visitors`);
}

/** @param {Coordinator} coordinator @param {HostSite} host */
async function stayOpen(coordinator, host) {
  console.log(`\nOpen ${host.address()} in your own browser. Ctrl-C ends it.`);
  console.log(`The dashboard is at ${coordinator.origin}/`);
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
}

async function main() {
  const { values } = parseArgs({ options: { open: { type: "boolean", default: false } } });
  const coordinator = await Coordinator.fresh(at("examples/digits/job.toml"), at("target/demo/coordinator"));
  const host = await HostSite.start(coordinator.origin);
  /** @type {Guest[]} */
  let guests = [];
  /** @type {import("node:child_process").ChildProcess[]} */
  let natives = [];
  try {
    console.log(`  coordinator ${coordinator.origin}/`);
    console.log(`  host page   ${host.address()}`);
    guests = await invite(host);
    if (guests.length === 0) {
      console.log(`  no browser was found: open ${host.address()} in your own, now or with --open`);
      natives = nativeVolunteers(coordinator);
    } else {
      await sayYes(guests);
    }
    const seconds = await follow(coordinator);
    await report(coordinator, guests, seconds);
    if (values.open) {
      for (const { browser } of guests.splice(0)) await browser.close();
      await stayOpen(coordinator, host);
    }
  } catch (error) {
    console.error(coordinator.output.join("\n"));
    for (const { called, visitor } of guests) {
      console.error(`${called}: ${await visitor.text().catch(String)} ${visitor.complaints.join("; ")}`);
    }
    throw error;
  } finally {
    for (const { browser } of guests) await browser.close().catch(() => {});
    for (const child of natives) child.kill("SIGTERM");
    await host.stop();
    await coordinator.stop();
  }
}

await main();
