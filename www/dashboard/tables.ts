// Who helps now, and who gave what. Rows are made anew on each change: there are few, and a person
// reads them slowly.

import type { Backend, Connected, JobStatus, TallyRow } from "../common/api.ts";
import { adapterName, backendName, count, percent, scaled } from "../common/format.ts";
import { h, setText } from "../common/dom.ts";

/** Rows that are shown; the CSV has all. */
const ROWS_MAX = 100;

interface Table {
  element: HTMLElement;
  update(rows: HTMLTableRowElement[], note: string): void;
}

function table(title: string, columns: [string, "text" | "number"][], empty: string, more?: Node): Table {
  const body = h("tbody");
  const note = h("span", { class: "value" });
  const head = h("tr", {}, ...columns.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)));
  const rows = h("table", {}, h("caption", { class: "sr" }, title), h("thead", {}, head), body);
  const scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, rows);
  const nobody = h("p", { class: "empty" }, empty);
  const element = h("section", { class: "box" }, h("div", { class: "row" }, h("h2", {}, title, note), more), scroll, nobody);
  return {
    element,
    update(fresh, words) {
      body.replaceChildren(...fresh);
      setText(note, words);
      scroll.hidden = fresh.length === 0;
      nobody.hidden = fresh.length > 0;
    },
  };
}

function cell(text: string, kind: "text" | "number" = "text"): HTMLTableCellElement {
  return h("td", { class: kind }, text);
}

function keyCell(key: string): HTMLTableCellElement {
  return h("td", { class: "mono", title: key }, key.slice(0, 8));
}

function deviceCells(
  agent: string | null,
  adapter: string | null,
  backend: Backend | null,
  forced: boolean,
): HTMLElement[] {
  const what = h("td", {}, backendName(backend));
  if (forced) what.append(" ", h("span", { class: "tag" }, "forced"));
  return [h("td", { class: "agent" }, agent || "–"), cell(adapterName(adapter ?? "") || "–"), what];
}

export function connectedTable(): { element: HTMLElement; update(status: JobStatus): void } {
  const made = table(
    "Helping now",
    [["Volunteer", "text"], ["Browser", "text"], ["Adapter", "text"], ["Computes with", "text"], ["Speed", "number"]],
    "Nobody is connected. Open the join page, or embed the widget.",
  );
  return {
    element: made.element,
    update(status) {
      const rows = status.connected.slice(0, ROWS_MAX).map(connectedRow);
      made.update(rows, count(status.volunteers));
    },
  };
}

function connectedRow(one: Connected): HTMLTableRowElement {
  const key = keyCell(one.key);
  if (one.trusted) key.append(" ", h("span", { class: "tag" }, "coordinator’s own"));
  const speed = one.speed === null ? "–" : `${count(one.speed)} samples/s`;
  return h("tr", {}, key, ...deviceCells(one.agent, one.adapter, one.backend, one.forced && !one.trusted), cell(speed, "number"));
}

export function tallyTable(csv: string): {
  element: HTMLElement;
  update(rows: TallyRow[]): void;
} {
  const link = h("a", { href: csv, download: true }, "CSV");
  const made = table(
    "Everyone who gave",
    [
      ["Volunteer", "text"],
      ["Browser", "text"],
      ["Adapter", "text"],
      ["Computed with", "text"],
      ["Tasks", "number"],
      ["Samples", "number"],
      ["Work", "number"],
      ["Share", "number"],
    ],
    "Nothing has been given yet.",
    link,
  );
  return {
    element: made.element,
    update(tally) {
      const total = tally.reduce((sum, row) => sum + row.samples, 0);
      const sorted = [...tally].sort((a, b) => b.samples - a.samples);
      made.update(sorted.slice(0, ROWS_MAX).map((row) => tallyRow(row, total)), count(tally.length));
    },
  };
}

function tallyRow(row: TallyRow, total: number): HTMLTableRowElement {
  const share = total > 0 ? row.samples / total : 0;
  const bar = h("span", { class: "bar" });
  bar.style.setProperty("--share", String(share));
  return h(
    "tr",
    {},
    keyCell(row.volunteer),
    ...deviceCells(row.agent, row.adapter, row.backend, false),
    cell(count(row.tasks), "number"),
    cell(count(row.samples), "number"),
    cell(scaled(row.flops, "FLOP"), "number"),
    h("td", { class: "number share" }, bar, percent(share, 0)),
  );
}
