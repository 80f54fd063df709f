// What the page's own address asks for. Every value is checked: the address comes from the host.

import type { BackendChoice } from "./events.ts";

export interface Parameters {
  job: string;
  theme: "auto" | "light" | "dark";
  languages: readonly string[];
  shareMax: number;
  backend: BackendChoice;
  /** True where the visitor can fold the card to one line. */
  folds: boolean;
  /** True in an iframe, false on the first-party page `/join/{job}`. */
  embedded: boolean;
}

export function readParameters(address: string, languages: readonly string[], embedded: boolean): Parameters {
  const url = new URL(address);
  const asked = url.searchParams;
  const theme = asked.get("theme");
  const backend = asked.get("backend");
  const language = asked.get("language");
  const shareMax = Number(asked.get("share_max") ?? 1);
  return {
    job: decodeURIComponent(url.pathname.split("/").pop() ?? ""),
    theme: theme === "light" || theme === "dark" ? theme : "auto",
    languages: language ? [language, ...languages] : languages,
    shareMax: shareMax >= 0 && shareMax <= 1 ? shareMax : 1,
    backend: backend === "webgpu" || backend === "cpu" ? backend : "auto",
    folds: embedded && asked.get("placement") === "corner",
    embedded,
  };
}
