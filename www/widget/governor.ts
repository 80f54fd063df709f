// How much of the device may be used: a pure function that can only lower what the visitor allowed.

/** What is known about the device and the tab; `null` where the browser does not say. */
export interface Signals {
  hidden: boolean;
  charging: boolean | null;
  mobile: boolean;
  saveData: boolean;
}

/** What holds the share down, by name, for the visitor. */
export type Limiter = "host" | "background" | "battery" | "metered";

export interface Governed {
  share: number;
  limiter: Limiter | null;
}

/** Where a visitor starts: clearly helping, clearly not everything. */
export const SHARE_START = 0.5;

/** The lowest that the slider goes: below it a task outlives its lease. */
export const SHARE_MIN = 0.1;

/** In a hidden tab a task still ends, and nothing that is looked at suffers. */
const SHARE_HIDDEN = 0.1;

/** A laptop on battery: a quarter of the time keeps the fan off. */
const SHARE_BATTERY = 0.25;

/** A metered line: tasks come rarely, so do their downloads. */
const SHARE_METERED = 0.25;

/** What forbids all work: a share of nothing is a rest, since a worker would load data and hold leases. */
export function holder({ share, limiter }: Governed): Limiter | null {
  return share > 0 ? null : limiter;
}

export function govern(wanted: number, shareMax: number, signals: Signals): Governed {
  // A phone gives only while it charges; one that does not say counts as on battery.
  const battery = signals.mobile ? (signals.charging === true ? 1 : 0) : signals.charging === false ? SHARE_BATTERY : 1;
  const caps: [Limiter, number][] = [
    ["host", shareMax],
    ["background", signals.hidden ? SHARE_HIDDEN : 1],
    ["battery", battery],
    ["metered", signals.saveData ? SHARE_METERED : 1],
  ];
  let governed: Governed = { share: wanted, limiter: null };
  for (const [limiter, cap] of caps) {
    if (cap < governed.share) governed = { share: cap, limiter };
  }
  return governed;
}
