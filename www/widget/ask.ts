// The question: who asks, what for, what it takes, and two answers of the same weight.

import { contactLink, count, megabytes, percent } from "../common/format.ts";
import { h, icon, outLink, setText } from "../common/dom.ts";
import type { Actions, Panel } from "./view.ts";
import type { Model } from "./model.ts";
import type { Strings } from "./strings.ts";
import { wasmBuild } from "./variant.ts";

export function askPanel(strings: Strings, actions: Actions, facts: { jobPage: string; mobile: boolean }): Panel {
  const title = h("h1", { id: "title", tabindex: "-1" });
  const owner = h("p", { class: "by" });
  const text = h("p", { class: "text" });
  const graphics = h("dd");
  const data = h("dd");
  const uses = h("dl", { class: "uses" });
  const rows: ["graphics" | "data" | "battery", HTMLElement][] = [
    ["graphics", graphics],
    ["data", data],
    ["battery", h("dd", {}, facts.mobile ? strings.usesText.batteryPhone : strings.usesText.battery)],
  ];
  for (const [name, value] of rows) uses.append(h("div", {}, h("dt", {}, icon(name), strings.uses[name]), value));

  const details = h("dl", { class: "facts" });
  const link = outLink(facts.jobPage, strings.openJob, strings.newTab);
  const more = h("details", {}, h("summary", {}, strings.details), details, h("p", {}, link));

  // A press on the summary should show something, also where the facts lie below the edge.
  more.addEventListener("toggle", () => {
    if (more.open) body.scrollTop = more.offsetTop - body.offsetTop;
  });

  const no = h("button", { type: "button", class: "button", "data-action": "no" }, strings.no);
  const yes = h("button", { type: "button", class: "button", "data-action": "yes" }, strings.yes);
  no.addEventListener("click", () => actions.no());
  yes.addEventListener("click", (click) => actions.yes(click));

  const body = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-labelledby": "title" });
  body.append(title, owner, text, uses, more);
  const element = h("section", { class: "panel ask", "aria-labelledby": "title" });
  element.append(body, h("div", { class: "actions" }, no, yes));
  return {
    element,
    focus: title,
    update(model) {
      const { card } = model;
      if (!card) return;
      setText(title, strings.ask(card.title));
      setText(owner, strings.by(card.owner));
      setText(text, card.text);
      text.hidden = card.text === "";
      setText(graphics, strings.usesText.graphics(percent(Math.min(model.share, model.shareMax), 0)));
      setText(data, strings.usesText.data(megabytes(firstDownload(model))));
      fillFacts(details, strings, model);
    },
  };
}

/** Worker, glue and wasm, the parameters once, and about as much again of data. */
function firstDownload(model: Model): number {
  return POTLUCK_FILES.workerBytes + wasmBuild().bytes + 8 * (model.card?.program.parameters ?? 0);
}

function fillFacts(list: HTMLElement, strings: Strings, model: Model): void {
  const { card, lasting } = model;
  if (!card) return;
  const address = contactLink(card.contact);
  const contact = address === null ? card.contact : outLink(address, card.contact, strings.newTab);
  const key = lasting ? strings.keyText : `${strings.keyText} ${strings.sessionOnly}`;
  const rows: [string, string | Node][] = [
    [strings.facts.owner, card.owner],
    [strings.facts.contact, contact],
    [strings.facts.model, strings.parameters(count(card.program.parameters))],
    [strings.facts.licence, card.licence],
    [strings.facts.data, card.data_licence],
    [strings.facts.source, card.data_source],
    [strings.facts.key, key],
  ];
  list.replaceChildren(...rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
