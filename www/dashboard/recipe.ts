// How the job is trained, and what its owner changed on the way.

import type { JobStatus, Recipe, RecipeChange } from "../common/api.ts";
import { count, percent } from "../common/format.ts";
import { h } from "../common/dom.ts";

const OPTIMIZERS: Record<string, string> = { adamw: "AdamW", muon: "Muon", sgd: "SGD" };
const UPDATES: Record<string, string> = { e3m0: "4 bits a parameter", int8: "8 bits a parameter" };
const MODES: Record<JobStatus["mode"], string> = { rounds: "rounds", buffered: "buffers" };

/** Changes that are shown at once; older ones are a click away. */
const CHANGES_SHOWN = 3;

export function recipeBox(): { element: HTMLElement; update(status: JobStatus): void } {
  const rows = h("dl", { class: "facts" });
  const changes = h("div", { class: "changes" });
  const element = h("section", { class: "box" }, h("h2", {}, "How it is trained"), rows, changes);
  let shown = "";
  return {
    element,
    update(status) {
      const now = JSON.stringify([status.recipe, status.strategy, status.mode, status.changes]);
      if (now === shown) return;
      shown = now;
      rows.replaceChildren(...factsOf(status).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
      changes.replaceChildren(...changeList(status.changes));
    },
  };
}

function factsOf({ recipe, strategy, mode }: JobStatus): [string, string][] {
  const { lr, schedule, steps, batch, budget_samples: budget, target_accuracy: target, outer, update } = recipe;
  return [
    ["Optimizer", optimizerName(recipe)],
    ["Learning rate", schedule === "constant" ? String(lr) : `${lr}, ${schedule}`],
    ["A task", `${steps} steps of ${batch} samples`],
    ["Budget", `${count(budget)} samples`],
    ...(target === null ? [] : [["Ends early at", percent(target)] as [string, string]]),
    ["Paced in", strategy === "auto" ? `${MODES[mode]}, as suits the crowd` : MODES[mode]],
    ["Outer step", outerStep(outer, mode)],
    ["Updates", UPDATES[update] ?? update],
  ];
}

function optimizerName({ optimizer }: Recipe): string {
  const name = Object.keys(optimizer)[0] ?? "";
  return OPTIMIZERS[name] ?? name;
}

/** What the owner set is of rounds; buffers make a step of their own from it. */
function outerStep({ lr, momentum }: Recipe["outer"], mode: JobStatus["mode"]): string {
  if (momentum === 0) return String(lr);
  return mode === "rounds" ? `${lr}, momentum ${momentum}` : `${lr}, momentum ${momentum} in rounds`;
}

function changeList(changes: RecipeChange[]): HTMLElement[] {
  if (changes.length === 0) return [];
  const rows = [...changes].reverse().map(changeRow);
  const heading = h("h3", {}, "Changed by the owner");
  const newest = h("ul", {}, ...rows.slice(0, CHANGES_SHOWN));
  const older = rows.slice(CHANGES_SHOWN);
  if (older.length === 0) return [heading, newest];
  return [heading, newest, h("details", {}, h("summary", {}, `${older.length} before that`), h("ul", {}, ...older))];
}

function changeRow({ at, version, differences }: RecipeChange): HTMLElement {
  const when = new Date(at);
  const words = when.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  const time = h("time", { datetime: when.toISOString() }, words);
  const fields = differences.map(({ field, from, to }) => h("span", { class: "change" }, `${field}: ${from} → ${to}`));
  return h("li", {}, h("span", { class: "soft" }, `Version ${count(version)}, `, time), ...fields);
}
