// docs/benchmarks.md from what was measured last: the tables between its markers, the pictures, the
// JSON under docs/measurements/, and the headline of the README. `node bench/docs.mjs` does only that.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { at } from "../tests/browser/project.mjs";
import { chart } from "./chart.mjs";

const PEERS = ["jax-js", "tfjs"];
const BACKENDS = ["webgpu", "wasm"];

const measured = (name) => JSON.parse(readFileSync(at("target/measure", `${name}.json`), "utf8"));

/** @param {string[]} head @param {string[][]} lines */
const table = (head, lines) =>
  [head, head.map((_, column) => (column === 0 ? "---" : "---:")), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n");

const find = (rows, workload, backend, runner) =>
  rows.find((row) => row.workload === workload && row.backend === backend && row.runner === runner);

const whole = (value) => (value >= 100 ? value.toFixed(0) : String(value));

/** `12.3 (11-15)`, or why not. */
const millis = (row) =>
  !row || row.absent ? "absent" : `${whole(row.ms_per_step)} (${whole(row.ms_low)}-${whole(row.ms_high)})`;

const over = (ours, peer) => {
  const found = ours.ratios?.find((one) => one.peer === peer);
  return found ? `${found.median} (${found.low}-${found.high})` : "-";
};

const names = (rows) => [...new Set(rows.map(({ workload }) => workload))];

function times(rows, backend) {
  const lines = names(rows).map((workload) => {
    const ours = find(rows, workload, backend, "potluck");
    if (!ours) return null;
    const peers = PEERS.flatMap((peer) => {
      const row = find(rows, workload, backend, peer);
      return row ? [millis(row), over(ours, peer)] : ["-", "-"];
    });
    return [workload, millis(ours), ...peers];
  });
  const head = ["Workload", "ours, ms", ...PEERS.flatMap((peer) => [`${peer}, ms`, `ours / ${peer}`])];
  return table(head, lines.filter((line) => line !== null));
}

function overheads(rows) {
  const lines = names(rows)
    .filter((workload) => !workload.startsWith("matmul"))
    .map((workload) => {
      const each = (backend, field) =>
        ["potluck", ...PEERS].map((runner) => find(rows, workload, backend, runner)?.[field] ?? "-").join(" / ");
      const commands = ["dispatches_per_step", "submits_per_step"].map((field) => each("webgpu", field));
      return [workload, ...commands, ...BACKENDS.map((backend) => each(backend, "warm_ms"))];
    });
  return table(["ours / jax-js / tfjs", "dispatches a step", "submits a step", "warm-up WebGPU, ms", "warm-up wasm, ms"], lines);
}

const limitsTable = (limits) =>
  table(["Limit", "at most", "measured", "holds"], limits.map(({ what, limit, value, holds }) => [what, String(limit), String(value), holds ? "yes" : "**no**"]));

const absences = (rows) => rows.filter((row) => row.absent).map((row) => `- ${row.runner}, ${row.workload}, ${row.backend}: ${row.absent}.`).join("\n");

const stamp = ({ machine, date, commit }) => `Measured on ${machine}, ${date}, commit \`${commit}\`.`;

/** @param {any} bench */
function benchText(bench) {
  const { rows, limits } = bench;
  const browser = rows[0]?.browser ?? "";
  return [
    `${stamp(bench)} Browser: ${browser}, headless, software WebGPU adapter.`,
    "Times are medians with the smallest and the largest; ratios are of iterations that took turns.",
    `### WebGPU\n\n![Milliseconds a step on WebGPU](images/bench-webgpu.svg)\n\n${times(rows, "webgpu")}`,
    `### wasm\n\n![Milliseconds a step on wasm](images/bench-wasm.svg)\n\n${times(rows, "wasm")}`,
    `### Commands and warm-up\n\n${overheads(rows)}`,
    `### Limits\n\n${limitsTable(limits)}`,
    absences(rows),
  ]
    .filter(Boolean)
    .join("\n\n");
}

/** @param {any} roofline */
function rooflineText(roofline) {
  const sections = names(roofline.rows).map((workload) => {
    const lines = roofline.rows
      .filter((row) => row.workload === workload)
      .map((row) => {
        const kb = [row.bytes_min, row.bytes_moved].map((bytes) => (bytes / 1e3).toFixed(1));
        return [row.kernel, row.sizes, row.tier, String(row.count), (row.flops / 1e6).toFixed(2), ...kb, String(row.floor_us), String(row.moved_us), row.bound];
      });
    const head = ["Kernel", "sizes", "tier", "count", "MFLOP", "KB that must move", "KB that ours moves", "floor, us", "ours, us", "bound by"];
    return `### ${workload}\n\n${table(head, lines)}`;
  });
  return [stamp(roofline), ...sections].join("\n\n");
}

/** What the README says in three lines. @param {any} bench */
function headline({ rows, machine, date }) {
  const lines = names(rows)
    .filter((workload) => !workload.startsWith("matmul") && !workload.endsWith("muon"))
    .map((workload) => [
      workload,
      ...BACKENDS.flatMap((backend) =>
        ["potluck", ...PEERS].map((runner) => {
          const row = find(rows, workload, backend, runner);
          return row && !row.absent ? whole(row.ms_per_step) : "-";
        }),
      ),
    ]);
  const head = ["ms a training step", "WebGPU: ours", "jax-js", "tfjs", "wasm: ours", "jax-js", "tfjs"];
  return `${table(head, lines)}\n\n${machine}, no GPU (software adapter), ${date.slice(0, 10)}.`;
}

/** Puts text between `<!-- name -->` and `<!-- /name -->`. */
function fill(file, name, text) {
  const path = at(file);
  const page = readFileSync(path, "utf8");
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file} has no ${begin} ... ${end}`);
  writeFileSync(path, `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`);
  return file;
}

/** @returns {string[]} the files that were written */
export function writeDocs() {
  const [bench, roofline] = [measured("bench"), measured("roofline")];
  mkdirSync(at("docs/measurements"), { recursive: true });
  const written = [bench, roofline].map((one) => {
    const file = `docs/measurements/${one.name}.json`;
    writeFileSync(at(file), JSON.stringify(one, null, 2) + "\n");
    return file;
  });
  for (const backend of BACKENDS) {
    const file = `docs/images/bench-${backend}.svg`;
    writeFileSync(at(file), chart(bench.rows, backend));
    written.push(file);
  }
  written.push(fill("docs/benchmarks.md", "bench", benchText(bench)));
  written.push(fill("docs/benchmarks.md", "roofline", rooflineText(roofline)));
  written.push(fill("README.md", "bench", headline(bench)));
  return written;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(writeDocs().join("\n"));
