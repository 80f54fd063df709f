// Quiet pictures: one sentence and at most one thing to do.

import { h, icon, outLink, setText } from "../common/dom.ts";
import { count } from "../common/format.ts";
import type { Actions, Panel } from "./view.ts";
import type { Strings } from "./strings.ts";

/** Loading, finished, stopped, unsupported, reload, failed. */
export function endPanel(strings: Strings, actions: Actions, facts: { jobPage: string }): Panel {
  const title = h("h1", { tabindex: "-1" });
  const text = h("p", { class: "text" });
  const gave = h("p", { class: "gave" });
  const action = h("button", { type: "button", class: "button", "data-action": "again" });
  const link = h("p", { class: "link" }, outLink(facts.jobPage, strings.openJob, strings.newTab));
  let yesLike = true;
  action.addEventListener("click", (click) => (yesLike ? actions.yes(click) : actions.reload()));
  const element = h("section", { class: "panel end" }, icon("mark"), title, text, gave, action, link);
  return {
    element,
    focus: title,
    update(model) {
      const words = strings.end[model.scene];
      setText(title, words?.title ?? `${strings.scene[model.scene]}…`);
      setText(text, model.scene === "unsupported" && model.detail ? model.detail : (words?.text ?? ""));
      const given = model.tasks > 0;
      setText(gave, given ? `${strings.gave} ${gaveOf(strings, model.tasks, model.taskSamples)}.` : "");
      gave.hidden = !given;
      yesLike = model.scene === "stopped";
      action.hidden = words?.action === undefined;
      setText(action, words?.action ?? "");
      link.hidden = model.scene === "loading" || model.card === null;
    },
  };
}

function gaveOf(strings: Strings, tasks: number, samples: number): string {
  return strings.gaveText(count(tasks), count(samples), tasks === 1);
}

/** After a no: one line, and the way back. */
export function declinedPanel(strings: Strings, actions: Actions): Panel {
  const text = h("p", { tabindex: "-1" }, strings.declined);
  const back = h("button", { type: "button", class: "plain", "data-action": "back" }, strings.changedMind);
  back.addEventListener("click", () => actions.askAgain());
  const element = h("section", { class: "panel declined" }, text, back);
  return { element, focus: text, update() {} };
}
