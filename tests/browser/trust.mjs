// Computes the tasks of `cargo xtask trust` in real browsers: every task on WebGPU and on both
// variants of the wasm, in Chromium and in Firefox. Reads the folder that potluck-lab wrote and puts
// each update beside its task.
//
//   node tests/browser/trust.mjs FOLDER [STACK ...]

import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { launch } from "./browsers.mjs";
import { at } from "./project.mjs";
import { until } from "./until.mjs";

/** The slowest task: sixteen steps of a small GPT on a software adapter, pipelines included. */
const TASK_MILLIS = 300_000;

/** @typedef {{ name: string, browser: import("./browsers.mjs").BrowserName, backend: string, variant: string }} Stack */

/** @type {Stack[]} */
const STACKS = [
  { name: "chromium-webgpu", browser: "chromium", backend: "webgpu", variant: "simd" },
  { name: "chromium-simd", browser: "chromium", backend: "cpu", variant: "simd" },
  { name: "chromium-relaxed", browser: "chromium", backend: "cpu", variant: "relaxed" },
  { name: "firefox-webgpu", browser: "firefox", backend: "webgpu", variant: "simd" },
  { name: "firefox-simd", browser: "firefox", backend: "cpu", variant: "simd" },
  { name: "firefox-relaxed", browser: "firefox", backend: "cpu", variant: "relaxed" },
];

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

const PAGE = `<!doctype html><meta charset="utf-8"><title>Tasks</title><link rel="icon" href="data:,">
<script type="module">
  let replayer = null;
  async function open(variant, backend) {
    const module = await import("./" + variant + "/potluck_tests_web.js");
    await module.default();
    if (module.variant() !== variant) throw new Error("the module at " + variant + " is " + module.variant());
    return module.Replayer.open(backend);
  }
  const bytes = async (file) => {
    const answer = await fetch("/tasks/" + file);
    if (!answer.ok) throw new Error(file + " is not there");
    return new Uint8Array(await answer.arrayBuffer());
  };
  const text = async (file) => new TextDecoder().decode(await bytes(file));
  window.replay = async (variant, backend, task, stack, blockCount) => {
    replayer ??= await open(variant, backend);
    const blocks = [];
    for (let index = 0; index < blockCount; index += 1) blocks.push(await bytes(task + "/block-" + index + ".bin"));
    const all = new Uint8Array(await new Blob(blocks).arrayBuffer());
    const [json, program, base] = [await text(task + "/task.json"), await text(task + "/program.json"), await bytes(task + "/base.bin")];
    const lengths = Uint32Array.from(blocks, (block) => block.length);
    const update = await replayer.replay(json, program, base, all, lengths);
    const put = await fetch("/updates/" + task + "/" + stack, { method: "PUT", body: new Blob([update]) });
    if (!put.ok) throw new Error("the update of " + task + " was not taken");
  };
</script>`;

/** @param {string} folder */
async function serve(folder) {
  const modules = at("target/web-tests");
  const server = createServer(async (request, response) => {
    const name = path.normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    try {
      if (request.method === "PUT") {
        const chunks = [];
        for await (const chunk of request) chunks.push(chunk);
        await writeFile(path.join(folder, `${name.replace("/updates/", "")}.f32`), Buffer.concat(chunks));
        response.writeHead(204).end();
        return;
      }
      const inTasks = name.startsWith("/tasks/");
      const file = inTasks ? path.join(folder, name.slice("/tasks/".length)) : path.join(modules, name);
      const body = name === "/" ? PAGE : await readFile(file);
      response.setHeader("content-type", TYPES[path.extname(name)] ?? (name === "/" ? "text/html" : "application/octet-stream"));
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/**
 * One task in a page; resolves when the update is on the disk.
 * @param {import("puppeteer-core").Page} page
 * @param {Stack} stack
 * @param {string} task
 * @param {number} blockCount
 */
async function replay(page, stack, task, blockCount) {
  // Held in the page: a driver's single call may not last as long as a task.
  await page.evaluate(
    (variant, backend, task, stack, blockCount) => {
      /** @type {any} */
      const hold = {};
      /** @type {any} */ (window).hold = hold;
      /** @type {any} */ (window).replay(variant, backend, task, stack, blockCount).then(
        () => (hold.done = true),
        (error) => (hold.error = String(error?.stack ?? error)),
      );
    },
    stack.variant,
    stack.backend,
    task,
    stack.name,
    blockCount,
  );
  const ended = async () => {
    const hold = await page.evaluate(() => /** @type {any} */ (window).hold);
    return hold.done || hold.error ? hold : null;
  };
  const { error } = await until(`${task} on ${stack.name}`, ended, TASK_MILLIS);
  if (error) throw new Error(`${task} on ${stack.name}: ${error}`);
}

/**
 * Computes every task of a folder on one stack.
 * @param {string} folder
 * @param {Stack} stack
 */
async function runStack(folder, stack) {
  const tasks = JSON.parse(await readFile(path.join(folder, "tasks.json"), "utf8"));
  const server = await serve(folder);
  const browser = await launch(stack.browser);
  const began = performance.now();
  try {
    const page = await browser.newPage();
    const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
    await page.goto(`http://tasks.localhost:${port}/`, { waitUntil: "domcontentloaded" });
    await page.waitForFunction(() => "replay" in window);
    for (const task of tasks) {
      const files = await readdir(path.join(folder, task));
      await replay(page, stack, task, files.filter((file) => file.startsWith("block-")).length);
    }
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
  console.error(`${stack.name}: ${tasks.length} tasks in ${((performance.now() - began) / 1000).toFixed(0)} s`);
}

const [folder, ...wanted] = process.argv.slice(2);
if (!folder) throw new Error("usage: node tests/browser/trust.mjs FOLDER [STACK ...]");
for (const stack of STACKS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  await runStack(path.resolve(folder), stack);
}
