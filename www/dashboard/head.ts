// The top of the page: what the job is, how far it is, and five numbers.

import type { JobStatus, TallyRow, VersionRow } from "../common/api.ts";
import { contactLink, count, decimal, percent, scaled, span } from "../common/format.ts";
import { h, icon, setText } from "../common/dom.ts";
import type { Live } from "./live.ts";

/** Commits over which the pace is taken: enough to be calm, few enough to follow. */
const PACE_VERSIONS = 12;

const PHASES: Record<JobStatus["phase"], string> = { running: "Training", paused: "Paused", finished: "Finished" };

export function topBar(names: string[], job: string): { element: HTMLElement; update(live: Live): void } {
  const phase = h("p", { class: "phase", role: "status" });
  const element = h("header", { class: "top" }, h("a", { class: "brand", href: "?" }, icon("mark"), "Potluck"));
  if (names.length > 1) element.append(jobPicker(names, job));
  element.append(phase);
  return {
    element,
    update({ status, connected, failure }) {
      if (!status) return;
      const why = status.blocked ? `: ${status.blocked}` : "";
      const lost = failure === null ? "Reconnecting" : `Stopped: ${failure}`;
      setText(phase, connected ? PHASES[status.phase] + why : lost);
      phase.dataset["phase"] = connected ? status.phase : "lost";
    },
  };
}

function jobPicker(names: string[], job: string): HTMLElement {
  const pick = h("select", { "aria-label": "Job" });
  for (const name of names) pick.append(h("option", { value: name, selected: name === job }, name));
  pick.addEventListener("change", () => {
    location.search = "?job=" + encodeURIComponent(pick.value);
  });
  return pick;
}

export function hero(): { element: HTMLElement; update(live: Live): void } {
  const title = h("h1");
  const text = h("p", { class: "text" });
  const by = h("p", { class: "soft by" });
  const fill = h("div", { class: "fill" });
  const bar = h("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  bar.setAttribute("aria-label", "Samples of the budget");
  const done = h("p");
  const left = h("p", { class: "soft" });
  const element = h("section", { class: "hero" }, title, text, by, bar, h("div", { class: "row" }, done, left));
  return {
    element,
    update({ status, history }) {
      if (!status) return;
      const { card, samples, budget_samples: budget } = status;
      const share = budget > 0 ? Math.min(1, samples / budget) : 0;
      document.title = `${card.title} · Potluck`;
      setText(title, card.title);
      setText(text, card.text);
      fillBy(by, status);
      fill.style.setProperty("width", `${100 * share}%`);
      bar.setAttribute("aria-valuenow", String(Math.floor(100 * share)));
      setText(done, `${percent(share, 0)} · ${count(samples)} of ${count(budget)} samples`);
      setText(left, leftLine(status, history));
    },
  };
}

function fillBy(by: HTMLElement, { card }: JobStatus): void {
  if (by.dataset["for"] === JSON.stringify(card)) return;
  by.dataset["for"] = JSON.stringify(card);
  const address = contactLink(card.contact);
  const contact = address === null ? card.contact : h("a", { href: address, rel: "noopener noreferrer" }, card.contact);
  const data = card.data_source ? `${card.data_source} (${card.data_licence})` : card.data_licence;
  by.replaceChildren(`Run by ${card.owner}, `, contact, ` · Data: ${data} · Model: ${card.licence}`);
}

function leftLine(status: JobStatus, history: VersionRow[]): string {
  if (status.phase === "finished") return "Finished";
  if (status.blocked) return "Goes on by itself when there is room on the coordinator's disk";
  if (status.phase === "paused") return "Paused by the owner";
  const recent = history.slice(-PACE_VERSIONS);
  const [first, last] = [recent[0], recent.at(-1)];
  const millis = first && last ? last.at - first.at : 0;
  const samples = first && last ? last.samples - first.samples : 0;
  if (millis <= 0 || samples <= 0 || status.volunteers === 0) return "";
  return `about ${span((millis * (status.budget_samples - status.samples)) / samples)} left at this pace`;
}

export function tiles(): { element: HTMLElement; update(live: Live): void } {
  const tile = (name: string): { element: HTMLElement; value: HTMLElement } => {
    const value = h("dd");
    return { element: h("div", { class: "tile" }, h("dt", {}, name), value), value };
  };
  const accuracy = tile("Accuracy (valid)");
  const test = tile("Accuracy (test)");
  const loss = tile("Loss (valid)");
  const version = tile("Version");
  const work = tile("Work given");
  const all = [accuracy, test, loss, version, work];
  return {
    element: h("dl", { class: "tiles", "aria-label": "Now" }, ...all.map((one) => one.element)),
    update({ status, tally }) {
      if (!status) return;
      setText(accuracy.value, percent(status.accuracy.valid));
      setText(test.value, percent(status.accuracy.test));
      setText(loss.value, decimal(status.loss.valid));
      setText(version.value, count(status.version));
      setText(work.value, workOf(tally));
    },
  };
}

function workOf(tally: TallyRow[]): string {
  const flops = tally.reduce((sum, row) => sum + row.flops, 0);
  return flops > 0 ? scaled(flops, "FLOP") : "–";
}
