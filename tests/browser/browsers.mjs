// Starts Chromium and Firefox, headless, with or without WebGPU, on machines with and without a GPU.
// Knows nothing of Potluck.

import { accessSync, constants, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { at, puppeteer } from "./project.mjs";

/** @typedef {"chromium" | "firefox"} BrowserName */

/** @type {BrowserName[]} */
export const BROWSERS = ["chromium", "firefox"];

const PROGRAMS = {
  chromium: ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
  firefox: ["firefox-esr", "firefox"],
};

/** Starting a browser on a busy two-core machine takes seconds; a minute means it is broken. */
const START_MILLIS = 60_000;

/** The slowest single command of a driver: a first screenshot on a software renderer. */
const COMMAND_MILLIS = 60_000;

const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-search-engine-choice-screen",
  // Tabs of a headless browser count as visible, but those behind others must not be slowed.
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

// Chromium brings a software adapter: the same results on every Linux machine, with a GPU or without.
const CHROMIUM_SOFTWARE = process.platform === "linux" ? ["--use-webgpu-adapter=swiftshader"] : [];
const CHROMIUM_WEBGPU = ["--enable-unsafe-webgpu", ...CHROMIUM_SOFTWARE];
const CHROMIUM_NO_WEBGPU = ["--disable-features=WebGPU,WebGPUService", "--disable-blink-features=WebGPU"];

const FIREFOX_PREFS = {
  // No calls home from a test.
  "app.normandy.enabled": false,
  "browser.region.network.url": "",
  "browser.safebrowsing.downloads.remote.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "",
  // Tabs that are not in front go on as visitors' do.
  "dom.ipc.processPriorityManager.enabled": false,
};

/** @param {boolean} on */
const firefoxWebgpu = (on) => ({
  "dom.webgpu.enabled": on,
  "dom.webgpu.workers.enabled": on,
  "gfx.webgpu.ignore-blocklist": on,
});

/** @param {string} file */
function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * The browser's program: named by POTLUCK_CHROMIUM or POTLUCK_FIREFOX, else on PATH, else where
 * setup noted a download; null where there is none.
 * @param {BrowserName} name
 * @returns {string | null}
 */
export function findBrowser(name) {
  const named = process.env[`POTLUCK_${name.toUpperCase()}`];
  if (named) return named;
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter(Boolean);
  const candidates = PROGRAMS[name].flatMap((program) => folders.map((folder) => path.join(folder, program)));
  const found = candidates.find(isProgram);
  if (found) return found;
  try {
    return readFileSync(at("target/browsers", `${name}.path`), "utf8").trim();
  } catch {
    return null;
  }
}

/** Mesa's software Vulkan driver, which Firefox needs where there is no GPU. */
function softwareVulkan() {
  const folder = "/usr/share/vulkan/icd.d";
  try {
    const file = readdirSync(folder).find((name) => /^lvp_icd.*\.json$/.test(name) && !name.includes("i686"));
    return file ? { VK_ICD_FILENAMES: path.join(folder, file), VK_DRIVER_FILES: path.join(folder, file) } : {};
  } catch {
    return {};
  }
}

/**
 * Starts a browser in a fresh profile.
 * @param {BrowserName} name
 * @param {{ webgpu?: boolean, commandMillis?: number }} [options]
 * @returns {Promise<import("puppeteer-core").Browser>}
 */
export async function launch(name, { webgpu = true, commandMillis = COMMAND_MILLIS } = {}) {
  const executablePath = findBrowser(name);
  if (executablePath === null) {
    throw new Error(`${name} is not installed: install it, or name its program in POTLUCK_${name.toUpperCase()}`);
  }
  const common = { executablePath, headless: true, timeout: START_MILLIS, protocolTimeout: commandMillis };
  const driver = process.env.VK_ICD_FILENAMES ? {} : softwareVulkan();
  if (name === "chromium") {
    const args = [...CHROMIUM_FLAGS, ...(webgpu ? CHROMIUM_WEBGPU : CHROMIUM_NO_WEBGPU)];
    return puppeteer.launch({ ...common, args });
  }
  return puppeteer.launch({
    ...common,
    browser: "firefox",
    env: { ...process.env, ...driver },
    extraPrefsFirefox: { ...FIREFOX_PREFS, ...firefoxWebgpu(webgpu) },
  });
}

/** `Chromium 156`, as people call it. @param {import("puppeteer-core").Browser} browser */
export async function describeBrowser(browser) {
  const version = await browser.version();
  const [name = "", number = ""] = version.split("/");
  const called = { chrome: "Chromium", headlesschrome: "Chromium", firefox: "Firefox" };
  return `${called[name.toLowerCase()] ?? name} ${number.split(".")[0]}`;
}
