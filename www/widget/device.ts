// What the browser tells of itself: its name, whether it can help at all, and the signals that hold
// the share down. Reads the browser only; decides nothing.

import type { Signals } from "./governor.ts";

interface Hints {
  userAgentData?: { brands: { brand: string; version: string }[]; mobile: boolean };
  getBattery?: () => Promise<Battery>;
  connection?: { saveData?: boolean };
}

interface Battery extends EventTarget {
  charging: boolean;
}

/** `Chromium 156`, `Firefox 153`: the engine's name and major version, nothing that tells people apart. */
export function agentOf(browser: Pick<Navigator, "userAgent"> & Hints): string {
  const known = ["Google Chrome", "Microsoft Edge", "Opera", "Chromium"];
  for (const name of known) {
    const brand = browser.userAgentData?.brands.find((one) => one.brand === name);
    if (brand) return `${name} ${brand.version}`;
  }
  const patterns: [string, RegExp][] = [
    ["Firefox", /Firefox\/(\d+)/],
    ["Chromium", /Chrome\/(\d+)/],
    ["Safari", /Version\/(\d+).*Safari/],
  ];
  for (const [name, pattern] of patterns) {
    const version = pattern.exec(browser.userAgent)?.[1];
    if (version) return `${name} ${version}`;
  }
  return "another browser";
}

/** Why this browser cannot help, or null. */
export function missingFeature(): string | null {
  if (!globalThis.isSecureContext) return "This page is not served over https.";
  if (typeof WebAssembly !== "object") return "WebAssembly is switched off in this browser.";
  if (typeof Worker !== "function") return "Workers are switched off in this browser.";
  return null;
}

export function isMobile(): boolean {
  const hints = navigator as Navigator & Hints;
  return hints.userAgentData?.mobile ?? /Android|iPhone|iPad|Mobile/.test(navigator.userAgent);
}

/** Calls back at once and whenever a signal changes. */
export function watchSignals(changed: (signals: Signals) => void): void {
  const hints = navigator as Navigator & Hints;
  const signals: Signals = {
    hidden: document.hidden,
    charging: null,
    mobile: isMobile(),
    saveData: hints.connection?.saveData ?? false,
  };
  const tell = (): void => changed({ ...signals });
  document.addEventListener("visibilitychange", () => {
    signals.hidden = document.hidden;
    tell();
  });
  // Refused where the embedding page does not pass the permission on.
  hints
    .getBattery?.()
    .then((battery) => {
      const read = (): void => {
        signals.charging = battery.charging;
        tell();
      };
      battery.addEventListener("chargingchange", read);
      read();
    })
    .catch(() => {});
  tell();
}
