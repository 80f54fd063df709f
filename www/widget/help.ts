// While a worker runs: how far the model is, what this visitor gave, on what device, and the controls.

import { adapterName, backendName, count, megabytes, percent } from "../common/format.ts";
import { h, outLink, setText } from "../common/dom.ts";
import { SHARE_MIN } from "./governor.ts";
import { ring } from "./ring.ts";
import type { Actions, Panel } from "./view.ts";
import { isHeld, type Model } from "./model.ts";
import type { Strings } from "./strings.ts";

/** One refused result is a lost race; several in a row are worth a word. */
const REFUSALS_SHOWN = 3;

export function helpPanel(strings: Strings, actions: Actions, facts: { jobPage: string }): Panel {
  const title = h("h1", { tabindex: "-1" });
  const version = h("p", { class: "by" });
  const accuracy = h("p", { class: "big" });
  const why = h("p", { class: "why" });
  const circle = ring();
  const gave = h("dd", { "data-fact": "gave" });
  const device = h("dd", { "data-fact": "device" });
  const share = shareRow(strings, actions);
  const list = h("dl", { class: "given" });
  list.append(h("div", {}, h("dt", {}, strings.gave), gave), h("div", {}, h("dt", {}, strings.device), device));

  const pause = h("button", { type: "button", class: "button", "data-action": "pause" });
  const stop = h("button", { type: "button", class: "button", "data-action": "stop" }, strings.stop);
  stop.addEventListener("click", () => actions.stop());
  let paused = false;
  pause.addEventListener("click", () => {
    if (pause.getAttribute("aria-disabled") === "true") return;
    if (paused) actions.resume();
    else actions.pause();
  });

  const head = h("div", { class: "head" }, circle.element, h("div", {}, title, version, accuracy));
  const body = h("div", { class: "scroll" }, head, why, list, share.element);
  body.append(h("p", { class: "link" }, outLink(facts.jobPage, strings.openJob, strings.newTab)));
  const element = h("section", { class: "panel help" }, body, h("div", { class: "actions" }, pause, stop));
  return {
    element,
    focus: title,
    update(model) {
      const done = model.budgetSamples > 0 ? Math.min(1, model.samples / model.budgetSamples) : 0;
      paused = model.scene === "paused";
      circle.update(done, model.scene === "helping" ? model.taskShare : 0, strings.progress(percent(done, 0)));
      setText(title, model.card?.title ?? "");
      setText(version, versionLine(strings, model));
      setText(accuracy, model.accuracy === null ? "" : `${strings.accuracy} ${percent(model.accuracy)}`);
      setText(gave, gaveLine(strings, model));
      setText(device, deviceLine(strings, model));
      setText(why, whyLine(strings, model));
      why.hidden = why.textContent === "";
      setText(pause, paused ? strings.resume : strings.pause);
      // Not `disabled`: that would take the keyboard's focus away before the next picture has it.
      const stopping = model.scene === "stopping";
      pause.setAttribute("aria-disabled", String(stopping || isHeld(model)));
      stop.setAttribute("aria-disabled", String(stopping));
      share.update(model);
    },
  };
}

function shareRow(strings: Strings, actions: Actions): { element: HTMLElement; update(model: Model): void } {
  const low = String(100 * SHARE_MIN);
  const range = h("input", { type: "range", id: "share", min: low, max: "100", step: "5" });
  const value = h("output", { for: "share" });
  range.addEventListener("input", () => actions.share(Number(range.value) / 100));
  const element = h("div", { class: "share" }, h("label", { for: "share" }, strings.share), range, value);
  return {
    element,
    update(model) {
      const max = String(Math.max(Number(low), Math.round(100 * model.shareMax)));
      if (range.max !== max) range.max = max;
      const now = String(Math.round(100 * Math.min(model.share, model.shareMax)));
      if (range.value !== now) range.value = now;
      range.style.setProperty("--filled", `${rangeShare(range)}%`);
      range.setAttribute("aria-valuetext", `${now} %`);
      setText(value, `${now} %`);
    },
  };
}

function rangeShare(range: HTMLInputElement): number {
  const [low, high] = [Number(range.min), Number(range.max)];
  return high > low ? (100 * (Number(range.value) - low)) / (high - low) : 100;
}

function versionLine(strings: Strings, model: Model): string {
  if (model.version === null) return "";
  return `${strings.version(count(model.version))} · ${strings.helping(Math.max(1, model.volunteers))}`;
}

function gaveLine(strings: Strings, model: Model): string {
  if (model.tasks === 0) return strings.gaveNothing;
  return strings.gaveText(count(model.tasks), count(model.taskSamples), model.tasks === 1);
}

function deviceLine(strings: Strings, model: Model): string {
  const { device } = model;
  if (!device) return strings.deviceNone;
  const adapter = adapterName(device.adapter);
  const name = adapter === "" ? backendName(device.backend) : `${backendName(device.backend)} · ${adapter}`;
  return device.forced ? `${name} (${strings.forced})` : name;
}

function whyLine(strings: Strings, model: Model): string {
  if (model.scene === "downloading") {
    return strings.ofData(megabytes(model.bytes), model.bytesTotal === null ? null : megabytes(model.bytesTotal));
  }
  if (model.reason !== null) return (isHeld(model) && strings.held[model.reason]) || strings.why[model.reason];
  if (model.refusals >= REFUSALS_SHOWN) return strings.refused(model.refusal);
  if (model.limiter !== null && model.scene === "helping") {
    return `${strings.why[model.limiter]} (${strings.shareNow(percent(model.shareNow, 0))})`;
  }
  return model.lasting ? "" : strings.sessionOnly;
}
