// What the runners' pages load: bundles of each, the programs with their first weights, and the
// wasm of ours and the peers'. Each runner has an origin of its own, so no two share a process.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { at } from "../tests/browser/project.mjs";
import { WORKLOADS } from "./workloads.mjs";

const { build } = createRequire(at("www/package.json"))("esbuild");

const ENGINE = at("target/npm/potluck-engine");
const TESTS = at("target/web-tests");
const TFJS_WASM = at("bench/node_modules/@tensorflow/tfjs-backend-wasm/dist");

const TYPES = { ".js": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

/** Folders by the first part of an address. */
const FOLDERS = { potluck: ENGINE, "web-tests": TESTS, "tfjs-wasm": TFJS_WASM };

/** The seed of every program's first weights. */
const SEED = 1;

/** @param {string} runner */
async function bundle(runner) {
  const result = await build({
    entryPoints: [at("bench/pages", `${runner}.mjs`)],
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    logLevel: "error",
    alias: { "potluck-engine": path.join(ENGINE, "index.js") },
    // tfjs asks for node's modules behind a check that a browser fails.
    external: ["fs", "path", "util", "crypto", "worker_threads", "perf_hooks", "os", "string_decoder", "node-fetch"],
  });
  return Buffer.from(result.outputFiles[0].contents);
}

/** The npm package, here in Node. */
export async function loadEngine() {
  const engine = await import(path.join(ENGINE, "index.js"));
  await engine.load(await readFile(path.join(ENGINE, engine.variant, "potluck_engine_js_bg.wasm")));
  return engine;
}

/** Programs and first weights, made by the engine itself, here in Node. @returns {Promise<Map<string, Buffer>>} */
async function programs(workloads) {
  const files = new Map();
  const training = workloads.filter(({ kind }) => kind === "train");
  if (training.length === 0) return files;
  const engine = await loadEngine();
  for (const { name, preset, config, batch } of training) {
    const program = await engine[preset](config);
    const trainer = await engine.Trainer.create(program, { backend: "cpu", batch, seed: SEED });
    files.set(`${name}.json`, Buffer.from(JSON.stringify({ program })));
    files.set(`${name}.bin`, Buffer.from(await trainer.weights()));
    trainer.free();
  }
  return files;
}

const page = (runner) =>
  `<!doctype html><meta charset="utf-8"><title>${runner}</title><link rel="icon" href="data:,">
<script type="module" src="/${runner}.js"></script>`;

/** Serves until `close`. @param {import("./workloads.mjs").Workload[]} workloads @param {string[]} runners */
export async function openSite(workloads = WORKLOADS, runners) {
  const made = await programs(workloads);
  for (const runner of runners) {
    made.set(`${runner}.js`, await bundle(runner));
    made.set(`${runner}.html`, Buffer.from(page(runner)));
  }
  const answer = async (address) => {
    const [folder = "", ...rest] = address.split("/").slice(1);
    const last = rest.at(-1) ?? folder;
    if (made.has(last)) return made.get(last);
    // What is served here is read by the pages of this very program.
    if (folder in FOLDERS) return readFile(path.join(FOLDERS[folder], ...rest));
    throw new Error(`nothing at ${address}`);
  };
  const server = createServer(async (request, response) => {
    const address = new URL(request.url ?? "/", "http://localhost").pathname;
    try {
      const body = await answer(address);
      response.setHeader("content-type", TYPES[path.extname(address)] ?? "text/html");
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    address: (runner, backend) => `http://${runner}-${backend}.localhost:${port}/${runner}.html`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
