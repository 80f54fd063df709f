// The widget's document: a header, one panel at a time, and a polite voice for screen readers.
// Reads the model, calls the actions, decides nothing.

import { h, icon, setText } from "../common/dom.ts";
import { askPanel } from "./ask.ts";
import { declinedPanel, endPanel } from "./end.ts";
import { helpPanel } from "./help.ts";
import { isActive, type Model, type Scene } from "./model.ts";
import type { Strings } from "./strings.ts";

/** What a visitor can do. */
export interface Actions {
  yes(click: Event): void;
  no(): void;
  askAgain(): void;
  pause(): void;
  resume(): void;
  stop(): void;
  share(share: number): void;
  reload(): void;
  fold(folded: boolean): void;
}

/** One picture. */
export interface Panel {
  element: HTMLElement;
  /** Where the keyboard goes when the pressed button vanishes with its panel. */
  focus: HTMLElement;
  update(model: Model): void;
}

/** Facts about the page that no happening changes. */
export interface ViewFacts {
  jobPage: string;
  mobile: boolean;
  folds: boolean;
  folded: boolean;
}

export function view(root: Element, strings: Strings, actions: Actions, facts: ViewFacts): (model: Model) => void {
  const panels = {
    ask: askPanel(strings, actions, facts),
    help: helpPanel(strings, actions, facts),
    end: endPanel(strings, actions, facts),
    declined: declinedPanel(strings, actions),
  };
  const state = h("p", { class: "state" });
  const header = h("header", {}, icon("mark"), h("p", { class: "brand" }, strings.brand), state);
  if (facts.folds) header.append(foldButton(strings, facts.folded, actions));
  const voice = h("p", { class: "sr", role: "status", "aria-live": "polite" });
  const main = h("main", { class: "card", id: "card" }, header);
  for (const panel of Object.values(panels)) {
    panel.element.hidden = true;
    main.append(panel.element);
  }
  main.append(voice);
  root.replaceChildren(main);

  let shown: Panel | null = null;
  let spoken: Scene = "loading";
  return (model) => {
    const panel = panels[panelOf(model.scene)];
    panel.update(model);
    main.dataset["scene"] = model.scene;
    setText(state, stateLine(strings, model));
    if (shown !== panel) {
      const hadFocus = shown?.element.contains(document.activeElement) ?? false;
      if (shown) shown.element.hidden = true;
      panel.element.hidden = false;
      shown = panel;
      // Only the visitor's own press moves the focus, and only from a button that is gone.
      if (hadFocus) panel.focus.focus({ preventScroll: true });
    }
    if (model.scene !== spoken && isWorthSaying(model.scene)) setText(voice, stateLine(strings, model));
    spoken = model.scene;
  };
}

/** The only thing that changes the element's size; it is there for every choice. */
function foldButton(strings: Strings, folded: boolean, actions: Actions): HTMLElement {
  const button = h("button", { type: "button", class: "fold", "data-action": "fold" }, icon("fold"));
  const show = (): void => {
    button.setAttribute("aria-expanded", String(!folded));
    button.setAttribute("aria-label", folded ? strings.unfold : strings.fold);
    document.documentElement.dataset["folded"] = String(folded);
  };
  button.addEventListener("click", () => {
    folded = !folded;
    show();
    actions.fold(folded);
  });
  show();
  return button;
}

function panelOf(scene: Scene): "ask" | "help" | "end" | "declined" {
  if (scene === "asking") return "ask";
  if (scene === "declined") return "declined";
  return isActive(scene) ? "help" : "end";
}

function stateLine(strings: Strings, model: Model): string {
  return strings.scene[model.scene];
}

/** The question never speaks by itself. */
function isWorthSaying(scene: Scene): boolean {
  return scene !== "asking" && scene !== "loading";
}
