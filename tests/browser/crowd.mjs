// Four tabs of two browsers that come, go, are killed and return while a small GPT trains: who does
// what at which share of the budget follows from a seed.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { Coordinator, POTLUCK } from "./coordinator.mjs";
import { HostSite } from "./host.mjs";
import { at } from "./project.mjs";
import { Tab } from "./tab.mjs";
import { Tap } from "./tap.mjs";
import { until } from "./until.mjs";

export const JOB_FILE = at("tests/browser/crowd/job.toml");
const JOB = "crowd";

/** Who begins. The first two return with what they had stored; the others are killed with their browsers, and somebody like them comes. */
const KINDS = /** @type {import("./tab.mjs").TabKind[]} */ ([
  { browser: "chromium", backend: "webgpu", share: 1 },
  { browser: "firefox", backend: "webgpu", share: 0.75 },
  { browser: "chromium", backend: "cpu", share: 0.25 },
  { browser: "firefox", backend: "cpu", share: 0.15 },
]);

/** As long as anything in here may take; nothing waits so long but on a very busy machine. */
const STEP_MILLIS = 120_000;

/** A byte a value and a scale for every 4,096, as `potluck_update::delta_len` has it. @param {number} parameters */
const deltaBytes = (parameters) => parameters + 4 * Math.ceil(parameters / 4096);

/** Numbers from 0 to 1 (mulberry32). @param {number} seed */
function randomFrom(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @typedef {{ at: number, what: "come" | "kill" | "return", who: number }} Turn at this share of the budget */

/**
 * What happens when, in order; `crates/simulator/src/experiments/band.rs` has the same numbers.
 * @param {number} seed
 * @returns {Turn[]}
 */
export function scheduleFrom(seed) {
  const random = randomFrom(seed);
  const between = (low, high) => low + random() * (high - low);
  const killed = KINDS.flatMap((_, who) => {
    if (who < 2) return [];
    const killedAt = between(0.1, 0.3);
    return /** @type {Turn[]} */ ([
      { at: killedAt, what: "kill", who },
      { at: killedAt + between(0.05, 0.15), what: "come", who: who + 2 },
    ]);
  });
  const [first, second] = random() < 0.5 ? [0, 1] : [1, 0];
  const returns = /** @type {Turn[]} */ ([
    { at: between(0.5, 0.6), what: "return", who: first },
    { at: between(0.7, 0.8), what: "return", who: second },
  ]);
  return [...killed, ...returns].sort((a, b) => a.at - b.at);
}

export class Crowd {
  /** @param {Coordinator} coordinator @param {Tap} tap @param {HostSite} host */
  constructor(coordinator, tap, host) {
    this.coordinator = coordinator;
    this.tap = tap;
    this.host = host;
    this.tabs = [...KINDS, ...KINDS.slice(2)].map((kind) => new Tab(kind, host, JOB));
  }

  /** @param {string} folder */
  static async start(folder) {
    const coordinator = await Coordinator.fresh(JOB_FILE, folder, ["--keep-updates"]);
    await coordinator.control("pause", JOB);
    const tap = await Tap.start(coordinator.port);
    return new Crowd(coordinator, tap, await HostSite.start(tap.origin));
  }

  /** All are at the door, and four of them in, measured and at ease, before the first task is given out. */
  async begin() {
    await Promise.all(this.tabs.map((tab) => tab.arrive()));
    await Promise.all(this.tabs.slice(0, KINDS.length).map((tab) => tab.come()));
    await this.measured(KINDS.length);
    await this.coordinator.control("resume", JOB);
  }

  /** @param {number} count of volunteers who are connected and may have work */
  async measured(count) {
    await until(`${count} volunteers`, async () => {
      const { connected } = await this.status();
      return connected.filter((one) => !one.trusted && one.backend !== null).length >= count;
    }, STEP_MILLIS);
  }

  status() {
    return this.coordinator.status(JOB);
  }

  history() {
    return this.coordinator.history(JOB);
  }

  contributions() {
    return this.coordinator.contributions(JOB);
  }

  /** @param {number} share of the budget */
  async merged(share) {
    await until(`${(100 * share).toFixed(0)} % of the budget`, async () => {
      const { samples, budget_samples } = await this.status();
      return samples >= share * budget_samples;
    }, STEP_MILLIS);
  }

  /** Somebody new, who counts as there once the coordinator knows. @param {number} who */
  async come(who) {
    const there = this.there;
    await this.tabs[who].come();
    await this.measured(there + 1);
  }

  /** How many have said yes and are neither gone nor killed. */
  get there() {
    return this.tabs.filter((tab) => tab.helps).length;
  }

  /**
   * Closes a tab in the middle of its work and opens it again while the job is paused, so that it misses
   * what the others had begun and no more. Answers what was fetched from its return on until it had a
   * newer version than the one it had kept.
   * @param {number} who one of the first two
   */
  async goAndReturn(who) {
    const tab = this.tabs[who];
    const there = this.there;
    // Who has rested long keeps a version of long ago, from which no delta leads on.
    await tab.credited(STEP_MILLIS);
    const left = (await this.status()).version;
    await tab.vanish();
    await this.coordinator.control("pause", JOB);
    const { program } = await this.status();
    const isDelta = ({ path, bytes }) => path.startsWith("/api/v1/blobs/") && bytes === deltaBytes(program.parameters);
    const before = this.tap.answers.length;
    await tab.comeBack();
    await this.measured(there);
    const { version: met } = await this.status();
    await this.coordinator.control("resume", JOB);
    const fetched = await until("a delta for who came back", () => {
      const since = this.tap.answers.slice(before);
      return since.some(isDelta) && since;
    }, STEP_MILLIS);
    return { name: tab.name, left, met, fetched };
  }

  async finished() {
    return until("the end and its loss", async () => {
      const { phase, version } = await this.status();
      if (phase !== "finished") return false;
      const last = (await this.history()).find((row) => row.version === version);
      return last?.loss !== null && last;
    }, STEP_MILLIS);
  }

  /** Ends the coordinator and has its folder checked. Answers the row of the table, by column. */
  async verified() {
    await this.coordinator.stop();
    const { stdout } = await promisify(execFile)(POTLUCK, ["log", "verify", this.coordinator.folder]);
    // Between two rules of the table, and below them.
    const [names, values] = stdout.split("\n").filter((line) => /^ \S/.test(line)).map((line) => line.trim().split(/ {2,}/));
    return Object.fromEntries(names.map((name, index) => [name, values[index]]));
  }

  async end() {
    await Promise.all(this.tabs.map((tab) => tab.leave()));
    await this.host.stop();
    await this.tap.stop();
    await this.coordinator.stop();
  }
}
