// Entry of the widget's page: `/widget/{job}` in an iframe, `/join/{job}` by itself.

import "./widget.css";
import { Api, rootOf } from "../common/api.ts";
import { Controller } from "./controller.ts";
import { agentOf, isMobile, missingFeature, watchSignals } from "./device.ts";
import { initialModel, type Model } from "./model.ts";
import { readParameters } from "./parameters.ts";
import { Storage } from "./storage.ts";
import { stringsFor } from "./strings.ts";
import { view, type Actions } from "./view.ts";

const FOLDED = "folded";

/** Nothing that is said here is secret: any site may embed us, and all are told the same. */
function tellHost(message: object): void {
  window.parent.postMessage(message, "*");
}

async function main(): Promise<void> {
  const embedded = window.parent !== window;
  const parameters = readParameters(location.href, navigator.languages, embedded);
  const { language, strings } = stringsFor(parameters.languages);
  document.documentElement.lang = language;
  document.documentElement.dataset["theme"] = parameters.theme;
  document.documentElement.dataset["place"] = embedded ? "frame" : "page";
  const storage = await Storage.open();
  const folded = parameters.folds && (await storage.get(FOLDED)) === true;
  if (embedded) {
    if (folded) tellHost({ potluck: "fold", folded });
    tellHost({ potluck: "ready", version: POTLUCK_VERSION });
  }

  const api = new Api(rootOf(import.meta.url));
  const jobPage = new URL("?job=" + encodeURIComponent(parameters.job), api.root).href;
  let controller: Controller | null = null;
  const fold = (now: boolean): void => {
    tellHost({ potluck: "fold", folded: now });
    void storage.set(FOLDED, now);
    controller?.shown();
  };
  const facts = { jobPage, mobile: isMobile(), folds: parameters.folds, folded };
  const draw = view(document.body, strings, actionsOf(() => controller, fold), facts);
  const start = initialModel(0);
  draw(start);
  const missing = missingFeature();
  if (missing !== null) return draw({ ...start, scene: "unsupported", detail: missing });

  controller = new Controller({
    api,
    parameters,
    storage,
    agent: agentOf(navigator),
    makeWorker: () => new Worker(new URL(POTLUCK_FILES.worker, import.meta.url), { type: "module" }),
    draw: (model: Model) => draw(model),
  });
  const running = controller;
  watchSignals((signals) => running.signals(signals));
  if (embedded) addEventListener("message", (message) => hearHost(running, message));
  await running.open();
}

/** Buttons exist before there is anybody to obey them. */
function actionsOf(controller: () => Controller | null, fold: (folded: boolean) => void): Actions {
  return {
    fold,
    yes: (click) => void controller()?.yes(click),
    no: () => controller()?.no(),
    askAgain: () => void controller()?.askAgain(),
    pause: () => controller()?.pause(),
    resume: () => controller()?.resume(),
    stop: () => void controller()?.stop(),
    share: (share) => controller()?.share(share),
    reload: () => location.reload(),
  };
}

/** The embedding page may only lower: pause, limit, leave. */
function hearHost(controller: Controller, message: MessageEvent): void {
  if (message.source !== window.parent) return;
  const said = message.data as { potluck?: unknown; share_max?: unknown } | null;
  if (said?.potluck === "pause") controller.pauseForPage();
  else if (said?.potluck === "leave") void controller.leave();
  else if (said?.potluck === "limit") controller.limit(Number(said.share_max));
}

void main();
