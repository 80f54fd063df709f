// Starts, asks, kills and restarts the coordinator as a process of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { at } from "./project.mjs";
import { until } from "./until.mjs";

export const POTLUCK = at("target/debug/potluck");

/** Lines of output that are kept for an error. */
const LINES_KEPT = 60;

/** A port that was free a moment ago. A restarted coordinator needs the same one, so 0 will not do. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  server.close();
  await once(server, "close");
  return port;
}

/**
 * Writes the digits job into `folder`, with other numbers where a test wants a shorter or longer one.
 * @param {string} folder
 * @param {Record<string, string | number>} [train] keys of `[train]`
 */
export async function digitsJob(folder, train = {}) {
  await mkdir(folder, { recursive: true });
  await copyFile(at("examples/digits/digits.csv"), path.join(folder, "digits.csv"));
  let text = await readFile(at("examples/digits/job.toml"), "utf8");
  for (const [key, value] of Object.entries(train)) {
    const line = new RegExp(`^${key} *=.*$`, "m");
    if (!line.test(text)) throw new Error(`examples/digits/job.toml has no ${key}`);
    text = text.replace(line, `${key} = ${value}`);
  }
  const file = path.join(folder, "job.toml");
  await writeFile(file, text);
  return file;
}

export class Coordinator {
  /**
   * @param {string} job path of the job file @param {string} folder where it keeps everything
   * @param {number} port @param {string[]} options of `potluck serve`
   */
  constructor(job, folder, port, options = []) {
    this.options = options;
    this.job = job;
    this.folder = folder;
    this.port = port;
    /** Where browsers find it: another site than the host page's. */
    this.origin = `http://coordinator.localhost:${port}`;
    /** @type {string[]} */
    this.output = [];
    /** @type {import("node:child_process").ChildProcess | null} */
    this.child = null;
  }

  /** A coordinator in a fresh folder. @param {string} job @param {string} folder @param {string[]} [options] */
  static async fresh(job, folder, options) {
    await rm(folder, { recursive: true, force: true });
    const coordinator = new Coordinator(job, folder, await freePort(), options);
    await coordinator.start();
    return coordinator;
  }

  async start() {
    const listen = `127.0.0.1:${this.port}`;
    const child = spawn(POTLUCK, ["serve", this.job, "--folder", this.folder, "--listen", listen, ...this.options], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => {
        this.output.push(...text.split("\n").filter(Boolean));
        this.output.splice(0, this.output.length - LINES_KEPT);
      });
    }
    let failure = "";
    child.on("error", (error) => (failure = error.message));
    await until("the coordinator", async () => {
      if (failure || child.exitCode !== null) return { failure: failure || `exit code ${child.exitCode}` };
      return (await fetch(`http://127.0.0.1:${this.port}/healthz`)).ok && { failure: "" };
    }).then((up) => {
      if (up.failure) throw new Error(`${POTLUCK} serve: ${up.failure}\n${this.output.join("\n")}`);
    });
  }

  /** @param {NodeJS.Signals} signal */
  async #end(signal) {
    const child = this.child;
    this.child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** As a power cut would. */
  kill() {
    return this.#end("SIGKILL");
  }

  stop() {
    return this.#end("SIGTERM");
  }

  /** An answer of the API as JSON. @param {string} rest below `/api/v1/` */
  async get(rest) {
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/${rest}`);
    if (!response.ok) throw new Error(`GET ${rest}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  status(job = "digits") {
    return this.get(`jobs/${job}`);
  }

  /** @returns {Promise<Record<string, any>[]>} */
  contributions(job = "digits") {
    return this.#rows(`jobs/${job}/contributions`, "contributions");
  }

  /** @returns {Promise<Record<string, any>[]>} */
  history(job = "digits") {
    return this.#rows(`jobs/${job}/history`, "versions");
  }

  /** @param {string} rest @param {string} field */
  async #rows(rest, field) {
    const rows = [];
    let cursor = null;
    do {
      const page = await this.get(cursor === null ? rest : `${rest}?cursor=${encodeURIComponent(cursor)}`);
      rows.push(...page[field]);
      cursor = page.cursor ?? null;
    } while (cursor !== null);
    return rows;
  }

  /** The owner's word. @param {"pause" | "resume"} word @param {string} [job] */
  async control(word, job = "digits") {
    const token = (await readFile(path.join(this.folder, "owner-token"), "utf8")).trim();
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/jobs/${job}/control`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify({ control: word }),
    });
    if (!response.ok) throw new Error(`${word}: ${response.status} ${await response.text()}`);
  }

  /** @param {string} file */
  async saveModel(file, job = "digits") {
    const response = await fetch(`http://127.0.0.1:${this.port}/api/v1/jobs/${job}/model.safetensors`);
    if (!response.ok) throw new Error(`model.safetensors: ${response.status}`);
    await writeFile(file, new Uint8Array(await response.arrayBuffer()));
  }
}
