// Makes the pages: bundles, content hashes, HTML and a manifest of everything.
//
//   node www/build.mjs [--wasm DIR] [--out DIR] [--npm DIR]
//
// --wasm DIR  folder with a folder for each variant, simd and relaxed, each with wasm-bindgen's
//             potluck_browser.js and potluck_browser_bg.wasm; without it everything else is still
//             built, and a widget says after a yes that it cannot load.
// --out DIR   where to write; default www/dist
// --npm DIR   also write the npm-ready package potluck-embed there

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** DESIGN's promise: under 4 KB gzipped. */
const EMBED_GZIP_MAX = 4096;

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: { wasm: { type: "string" }, out: { type: "string" }, npm: { type: "string" } },
});
const { version } = JSON.parse(await readFile(path.join(here, "package.json"), "utf8"));

/** Files of the site by path, made in memory and written at the end. */
const files = new Map();

const hashOf = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const gzipOf = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** Adds `folder/stem.<hash>.ext` and returns the name without the folder. */
function addHashed(folder, stem, extension, bytes) {
  const name = `${stem}.${hashOf(bytes)}.${extension}`;
  files.set(path.posix.join(folder, name), Buffer.from(bytes));
  return name;
}

/** Bundles one entry; returns its outputs by extension. */
async function bundle(entry, { format = "esm", define = {} } = {}) {
  const result = await build({
    entryPoints: [path.isAbsolute(entry) ? entry : path.join(here, entry)],
    outdir: path.join(here, "out"),
    bundle: true,
    write: false,
    minify: true,
    format,
    target: ["es2022", "chrome120", "firefox128", "safari17.4"],
    charset: "utf8",
    legalComments: "inline",
    logLevel: "warning",
    define: { POTLUCK_VERSION: JSON.stringify(version), ...define },
  });
  const outputs = {};
  for (const file of result.outputFiles) outputs[path.extname(file.path).slice(1)] = file.contents;
  return outputs;
}

async function addWasm(folder, variant) {
  const wasm = await readFile(path.join(folder, variant, "potluck_browser_bg.wasm"));
  const wasmName = addHashed("widget", `potluck_browser_${variant}_bg`, "wasm", wasm);
  const glue = (await bundle(path.resolve(folder, variant, "potluck_browser.js"))).js;
  const glueName = addHashed("widget", `potluck_browser_${variant}`, "js", glue);
  return { wasm: wasmName, glue: glueName, build: hashOf(wasm), bytes: gzipOf(wasm) + gzipOf(glue) };
}

async function addPage(folder, { replace, define }) {
  const page = path.basename(folder);
  const outputs = await bundle(`${folder}/main.ts`, { define });
  const names = { ...replace };
  names[`${page}.js`] = addHashed(folder, page, "js", outputs.js);
  names[`${page}.css`] = addHashed(folder, page, "css", outputs.css);
  const html = await readFile(path.join(here, folder, "index.html"), "utf8");
  const filled = html.replace(/\{\{([\w.]+)\}\}/g, (_, name) => {
    if (!(name in names)) throw new Error(`${folder}/index.html names ${name}, which was not built`);
    return names[name];
  });
  files.set(`${folder}/index.html`, Buffer.from(filled));
}

async function addEmbed() {
  const { js } = await bundle("embed/script.ts", { format: "iife" });
  const gzip = gzipOf(js);
  if (gzip >= EMBED_GZIP_MAX) throw new Error(`embed.js is ${gzip} bytes gzipped, the limit is ${EMBED_GZIP_MAX}`);
  files.set("embed.js", Buffer.from(js));
}

async function writeNpm(folder) {
  const { js } = await bundle("embed/index.ts");
  await mkdir(folder, { recursive: true });
  const tsc = path.join(here, "node_modules/.bin/tsc");
  const flags = ["--ignoreConfig", "--declaration", "--emitDeclarationOnly", "--target", "es2022", "--module", "esnext"];
  execFileSync(tsc, [...flags, "--moduleResolution", "bundler", "--outDir", folder, path.join(here, "embed/index.ts")], {
    stdio: "inherit",
  });
  await writeFile(path.join(folder, "index.js"), js);
  const description = JSON.parse(await readFile(path.join(here, "embed/package.json"), "utf8"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ ...description, version }, null, 2) + "\n");
  await writeFile(path.join(folder, "README.md"), await readFile(path.join(here, "embed/README.md")));
}

function manifestOf() {
  const rows = [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, bytes]) => {
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return [name, { sha256, bytes: bytes.length, gzip: gzipOf(bytes) }];
  });
  return Object.fromEntries(rows);
}

/** The old folder is replaced whole, so that a server that reads it never sees half of a build. */
async function writeSite(out) {
  const fresh = `${out}.new`;
  await rm(fresh, { recursive: true, force: true });
  for (const [name, bytes] of files) {
    await mkdir(path.join(fresh, path.dirname(name)), { recursive: true });
    await writeFile(path.join(fresh, name), bytes);
  }
  await rm(out, { recursive: true, force: true });
  await rename(fresh, out);
}

const none = { wasm: "missing.wasm", glue: "missing.js", build: "none", bytes: 0 };
const builds = {};
for (const variant of ["simd", "relaxed"]) builds[variant] = options.wasm ? await addWasm(options.wasm, variant) : none;
const asDefine = (value) => ({ POTLUCK_FILES: JSON.stringify(value) });
const worker = (await bundle("widget/worker.ts", { define: asDefine({ builds }) })).js;
const workerName = addHashed("widget", "worker", "js", worker);
const named = { builds, worker: workerName, workerBytes: gzipOf(worker) };
const icon = addHashed("", "icon", "svg", await readFile(path.join(here, "common/icon.svg")));
await addPage("widget", { replace: { "icon.svg": icon }, define: asDefine(named) });
if ((await readdir(path.join(here, "dashboard"))).includes("main.ts")) {
  await addPage("dashboard", { replace: { "icon.svg": icon }, define: {} });
}
await addEmbed();
const manifest = manifestOf();
files.set("manifest.json", Buffer.from(JSON.stringify(manifest, null, 2) + "\n"));
await writeSite(path.resolve(options.out ?? path.join(here, "dist")));
if (options.npm) await writeNpm(path.resolve(options.npm));
for (const [name, { bytes, gzip }] of Object.entries(manifest)) console.log(`${name}  ${bytes} bytes, ${gzip} gzipped`);
