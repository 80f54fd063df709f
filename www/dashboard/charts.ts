// Accuracy and loss per version, drawn by uPlot in the page's own colours.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { VersionRow } from "../common/api.ts";
import { decimal, percent } from "../common/format.ts";
import { h, setText } from "../common/dom.ts";

interface Line {
  label: string;
  /** Name of a CSS colour variable. */
  colour: string;
  pick: (row: VersionRow) => number | null | undefined;
  /** A line where every version has a value, dots where few have. */
  dots?: boolean;
}

interface Spec {
  title: string;
  lines: Line[];
  show: (value: number) => string;
  /** One value in words, for those who do not see the line. */
  latest: (rows: VersionRow[]) => string;
}

const HEIGHT = 220;
const FONT = "12px system-ui, sans-serif";

const ACCURACY: Spec = {
  title: "Accuracy",
  lines: [
    { label: "valid", colour: "--accent", pick: (row) => row.accuracy },
    { label: "test", colour: "--ink", pick: (row) => row.test_accuracy, dots: true },
  ],
  show: (value) => percent(value, 0),
  latest: (rows) => percent(lastOf(rows, (row) => row.accuracy)),
};

const LOSS: Spec = {
  title: "Loss",
  lines: [
    { label: "valid", colour: "--accent", pick: (row) => row.loss },
    { label: "test", colour: "--ink", pick: (row) => row.test_loss, dots: true },
  ],
  show: (value) => decimal(value, 2),
  latest: (rows) => decimal(lastOf(rows, (row) => row.loss)),
};

function lastOf(rows: VersionRow[], pick: Line["pick"]): number | null {
  for (const row of [...rows].reverse()) {
    const value = pick(row);
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

export function charts(): { element: HTMLElement; update(rows: VersionRow[]): void } {
  const all = [chart(ACCURACY), chart(LOSS)];
  const element = h("section", { class: "charts", "aria-label": "Training curves" }, ...all.map((one) => one.element));
  return { element, update: (rows) => all.forEach((one) => one.update(rows)) };
}

function chart(spec: Spec): { element: HTMLElement; update(rows: VersionRow[]): void } {
  const words = h("span", { class: "value" });
  const place = h("div", { class: "plot", "aria-hidden": "true" });
  const heading = h("h2", {}, spec.title, words);
  const legend = h("p", { class: "legend", "aria-hidden": "true" });
  for (const line of spec.lines) legend.append(h("span", { class: `key ${line.dots ? "dot" : "line"}` }, line.label));
  const element = h("div", { class: "box chart" }, h("div", { class: "row" }, heading, legend), place);
  let plot: uPlot | null = null;
  let rows: VersionRow[] = [];

  const make = (): void => {
    plot?.destroy();
    plot = new uPlot(options(spec, place.clientWidth), data(spec, rows), place);
  };
  new ResizeObserver(() => {
    if (plot) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    else if (place.clientWidth > 0) make();
  }).observe(place);
  // uPlot paints on a canvas, which does not hear of a change of theme by itself.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", make);

  return {
    element,
    update(fresh) {
      if (fresh === rows) return;
      rows = fresh;
      setText(words, spec.latest(rows));
      plot?.setData(data(spec, rows));
    },
  };
}

function data(spec: Spec, rows: VersionRow[]): uPlot.AlignedData {
  const columns = spec.lines.map((line) => rows.map((row) => line.pick(row) ?? null));
  return [rows.map((row) => row.version), ...columns];
}

function options(spec: Spec, width: number): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string): string => resolved(style.getPropertyValue(name));
  const axis = {
    stroke: colour("--soft"),
    font: FONT,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false, range: (_, low, high) => [low, Math.max(high, low + 1)] } },
    axes: [
      {
        ...axis,
        space: 60,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000],
        label: "version",
        labelFont: FONT,
        labelSize: 20,
        labelGap: 0,
        size: 26,
        gap: 4,
      },
      { ...axis, size: 52, values: (_, values) => values.map((value) => spec.show(value)) },
    ],
    series: [
      {},
      ...spec.lines.map((line) => ({
        label: line.label,
        stroke: colour(line.colour),
        width: 2,
        spanGaps: true,
        ...(line.dots
          ? { paths: () => null, points: { show: true, size: 7, fill: colour("--surface"), width: 2 } }
          : { points: { show: false } }),
      })),
    ],
  };
}

/** A canvas does not know `light-dark()`: the browser resolves it on a throw-away element. */
function resolved(value: string): string {
  const probe = h("span");
  probe.style.color = value;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
