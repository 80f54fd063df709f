// Milliseconds a step as bars, one group a workload, as a picture that needs no script and follows
// the reader's light or dark. The scale is logarithmic: the runners are up to a hundred times apart.

const RUNNERS = ["potluck", "jax-js", "tfjs"];
const CALLED = { potluck: "Potluck", "jax-js": "jax-js", tfjs: "TensorFlow.js" };

const WIDTH = 760;
const LEFT = 210;
const RIGHT = 70;
const BAR = 14;
const GAP = 14;
const TOP = 40;

/** @param {any[]} rows @param {string} backend */
export function chart(rows, backend) {
  const shown = rows.filter((row) => row.backend === backend && !row.absent && !row.workload.startsWith("matmul"));
  const workloads = [...new Set(shown.map(({ workload }) => workload))].filter((name) => !name.endsWith("-muon"));
  const values = shown.map((row) => row.ms_per_step);
  const low = 10 ** Math.floor(Math.log10(Math.min(...values)));
  const high = Math.max(...values);
  const length = (value) => ((WIDTH - LEFT - RIGHT) * Math.log(value / low)) / Math.log(high / low);

  let y = TOP;
  const parts = [];
  for (const workload of workloads) {
    const bars = RUNNERS.map((runner) => shown.find((row) => row.workload === workload && row.runner === runner)).filter(Boolean);
    parts.push(`<text class="name" x="${LEFT - 10}" y="${y + (bars.length * BAR) / 2 + 4}">${workload}</text>`);
    for (const { runner, ms_per_step: millis } of bars) {
      const wide = Math.max(length(millis), 1).toFixed(1);
      parts.push(`<rect class="${runner}" x="${LEFT}" y="${y + 1}" width="${wide}" height="${BAR - 2}" rx="2"/>`);
      parts.push(`<text class="value" x="${(LEFT + Number(wide) + 6).toFixed(1)}" y="${y + BAR - 3}">${label(millis)}</text>`);
      y += BAR;
    }
    y += GAP;
  }
  return page(y, backend, legend() + parts.join("\n"));
}

const label = (millis) => `${millis >= 100 ? millis.toFixed(0) : Number(millis.toPrecision(3))} ms`;

function legend() {
  return RUNNERS.map((runner, index) => {
    const x = LEFT + index * 120;
    return `<rect class="${runner}" x="${x}" y="12" width="12" height="12" rx="2"/><text class="key" x="${x + 18}" y="22">${CALLED[runner]}</text>`;
  }).join("\n");
}

const page = (height, backend, body) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Milliseconds a training step on ${backend}, logarithmic">
<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.name { text-anchor: end; }
.value { font-size: 11px; fill: #57606a; }
.potluck { fill: #1f883d; } .jax-js { fill: #8c959f; } .tfjs { fill: #d0d7de; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .value { fill: #8d96a0; }
  .potluck { fill: #3fb950; } .jax-js { fill: #6e7681; } .tfjs { fill: #3d444d; }
}
</style>
${body}
</svg>
`;
