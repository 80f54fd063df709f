// Entry of the dashboard at `/`: the job named by `?job=`, else the first one.

import "./dashboard.css";
import { Api, ApiError, rootOf } from "../common/api.ts";
import { h } from "../common/dom.ts";
import { aside } from "./aside.ts";
import { charts } from "./charts.ts";
import { hero, tiles, topBar } from "./head.ts";
import { Feed, type Live } from "./live.ts";
import { recipeBox } from "./recipe.ts";
import { connectedTable, tallyTable } from "./tables.ts";

async function main(): Promise<void> {
  const api = new Api(rootOf(import.meta.url));
  const names = await api.jobNames();
  const job = new URL(location.href).searchParams.get("job") ?? names[0];
  if (job === undefined) return say("No job here yet", "Start one with: potluck serve job.toml");

  const parts = {
    top: topBar(names, job),
    hero: hero(),
    tiles: tiles(),
    charts: charts(),
    connected: connectedTable(),
    tally: tallyTable(api.jobAddress(job, "/contributions?format=csv")),
    recipe: recipeBox(),
    aside: aside(api, job),
  };
  const update = (live: Live): void => {
    parts.top.update(live);
    parts.hero.update(live);
    parts.tiles.update(live);
    parts.charts.update(live.history);
    parts.tally.update(live.tally);
    if (!live.status) return;
    parts.connected.update(live.status);
    parts.recipe.update(live.status);
    parts.aside.update(live.status);
  };
  const tables = h("div", { class: "tables" }, parts.connected.element, parts.tally.element, parts.recipe.element);
  const columns = h("div", { class: "columns" }, tables, parts.aside.element);
  const content = [parts.hero.element, parts.tiles.element, parts.charts.element, columns];
  document.body.replaceChildren(parts.top.element, h("main", {}, ...content));
  await new Feed(api, job, update).open();
}

function say(title: string, text: string): void {
  document.body.replaceChildren(h("main", { class: "empty" }, h("h1", {}, title), h("p", { class: "soft" }, text)));
}

main().catch((error: unknown) => {
  if (!(error instanceof ApiError) || error.status === 0) {
    return say("The coordinator does not answer", "Reload to try again.");
  }
  // Anything but an unknown name is a job that goes on no more, in its own words.
  say(error.status === 404 ? "No such job here" : "This job has stopped", error.status === 404 ? "" : error.message);
});
