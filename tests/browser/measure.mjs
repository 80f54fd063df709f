// The project's measurement format, as crates/xtask/src/measure.rs writes it.

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, platform } from "node:os";
import path from "node:path";
import { at, ROOT } from "./project.mjs";

/** @typedef {{ what: string, limit: number, value: number, holds: boolean }} Limit */

/** @param {string[]} words */
function git(...words) {
  try {
    return execFileSync("git", ["-C", ROOT, ...words], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return null;
  }
}

function commit() {
  const head = git("rev-parse", "--short=12", "HEAD");
  if (head === null) return "unknown";
  return git("status", "--porcelain") === "" ? head : `${head} with changes`;
}

/**
 * Writes `target/measure/NAME.json`.
 * @param {string} name
 * @param {object[]} rows
 * @param {Limit[]} limits
 */
export function writeMeasurement(name, rows, limits) {
  const machine = `${cpus().length} cores, ${cpus()[0]?.model ?? process.arch}, ${platform()}`;
  const date = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const file = at("target/measure", `${name}.json`);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, JSON.stringify({ name, machine, date, commit: commit(), rows, limits }, null, 2) + "\n");
  return file;
}

/** @param {string} what @param {number} limit @param {number} value @returns {Limit} */
export const atLeast = (what, limit, value) => ({ what, limit, value, holds: value >= limit });

/** @param {string} what @param {number} limit @param {number} value @returns {Limit} */
export const atMost = (what, limit, value) => ({ what, limit, value, holds: value <= limit });

/** @param {string} what @param {number} limit @param {number} value @returns {Limit} */
export const below = (what, limit, value) => ({ what, limit, value, holds: value < limit });
