// /embed.js: the classic script. Finds its own tag, reads its attributes and mounts one widget.
// Everything that it does is in index.ts; this file knows only tags and attributes.

import { create, type MountOptions } from "./index.ts";

const DONE = "potluckMounted";

/** `currentScript` is null where a loader or a bundler runs us; then the first tag not yet used is ours. */
function ownTag(): HTMLScriptElement | undefined {
  const current = document.currentScript;
  if (current instanceof HTMLScriptElement && current.dataset["job"] !== undefined) return current;
  const tags = [...document.querySelectorAll<HTMLScriptElement>("script[src][data-job]")];
  return tags.find((tag) => /\/embed(\.\w+)?\.js(\?|$)/.test(tag.src) && !(DONE in tag.dataset));
}

function oneOf<T extends string>(value: string | undefined, ...known: T[]): T | undefined {
  return known.find((one) => one === value);
}

function optionsOf(tag: HTMLScriptElement): MountOptions {
  const { job, coordinator, placement, theme, language, load, shareMax, backend } = tag.dataset;
  return {
    coordinator: coordinator ?? new URL(".", tag.src).href,
    job: job ?? "",
    placement: oneOf(placement, "inline", "corner"),
    theme: oneOf(theme, "auto", "light", "dark"),
    language,
    load: oneOf(load, "view", "click"),
    shareMax: shareMax && Number(shareMax) >= 0 ? Math.min(1, Number(shareMax)) : undefined,
    backend: oneOf(backend, "webgpu", "cpu"),
  };
}

const tag = ownTag();
if (tag) {
  tag.dataset[DONE] = "";
  const options = optionsOf(tag);
  const place = (): void => {
    const element = create(options);
    const flows = options.placement !== "corner" && document.body.contains(tag);
    if (flows) tag.after(element);
    else document.body.append(element);
  };
  if (document.body) place();
  else addEventListener("DOMContentLoaded", place);
}
