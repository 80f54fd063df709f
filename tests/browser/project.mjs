// Where things are, and the packages of www/, which is the only folder with a package.json.

import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The clone's root. */
export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

/** A path below the root. @param {string[]} parts */
export const at = (...parts) => path.join(ROOT, ...parts);

const require = createRequire(at("www/package.json"));

/** @type {import("puppeteer-core").PuppeteerNode} */
export const puppeteer = require("puppeteer-core");

/** Path of axe-core's script, to be run inside a page. */
export const axePath = () => require.resolve("axe-core");

/** True while `cargo xtask test --list` only wants names: nothing may start then. */
export const LISTING = process.env.POTLUCK_TEST_LIST === "1";
