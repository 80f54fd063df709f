// Every text that the widget shows, in one place per language. Texts are plain: no markup.

import type { Reason, Scene } from "./model.ts";

export interface Strings {
  brand: string;
  optional: string;
  ask: (title: string) => string;
  by: (owner: string) => string;
  yes: string;
  no: string;
  uses: { graphics: string; data: string; battery: string };
  usesText: {
    graphics: (share: string) => string;
    data: (bytes: string) => string;
    battery: string;
    batteryPhone: string;
  };
  details: string;
  facts: {
    owner: string;
    contact: string;
    licence: string;
    data: string;
    source: string;
    model: string;
    key: string;
  };
  parameters: (count: string) => string;
  keyText: string;
  sessionOnly: string;
  openJob: string;
  newTab: string;
  scene: Record<Scene, string>;
  why: Record<Reason, string>;
  /** In place of `why` where nothing at all may be used. */
  held: Partial<Record<Reason, string>>;
  end: Partial<Record<Scene, { title: string; text: string; action?: string }>>;
  declined: string;
  changedMind: string;
  version: (version: string) => string;
  helping: (count: number) => string;
  accuracy: string;
  gave: string;
  gaveText: (tasks: string, samples: string, one: boolean) => string;
  gaveNothing: string;
  refused: (detail: string) => string;
  device: string;
  deviceNone: string;
  forced: string;
  share: string;
  shareNow: (share: string) => string;
  progress: (share: string) => string;
  ofData: (got: string, total: string | null) => string;
  fold: string;
  unfold: string;
  pause: string;
  resume: string;
  stop: string;
}

const en: Strings = {
  brand: "Potluck",
  optional: "optional",
  ask: (title) => `Help train “${title}”?`,
  by: (owner) => `Run by ${owner}`,
  yes: "Yes, help",
  no: "No, thanks",
  uses: { graphics: "Graphics", data: "Data", battery: "Battery" },
  usesText: {
    graphics: (share) => `at most ${share} of its time`,
    data: (bytes) => `about ${bytes}, then a little per task`,
    battery: "less when unplugged",
    batteryPhone: "helps only while charging",
  },
  details: "Who, licences and data",
  facts: {
    owner: "Run by",
    contact: "Contact",
    licence: "Model licence",
    data: "Data licence",
    source: "Data source",
    model: "Model",
    key: "About you",
  },
  parameters: (count) => `${count} parameters, trained from scratch`,
  keyText: "A random key made in this browser signs your work. No account, no cookies, no tracking.",
  sessionOnly: "This browser keeps nothing for us, so your key ends with this page.",
  openJob: "Watch the job",
  newTab: "(opens a new tab)",
  scene: {
    loading: "Loading",
    asking: "Optional",
    checking: "Checking device",
    downloading: "Downloading",
    helping: "Helping",
    waiting: "Waiting",
    paused: "Paused",
    stopping: "Stopping",
    finished: "Finished",
    stopped: "Stopped",
    declined: "Not helping",
    unsupported: "Not supported",
    offline: "Offline",
    update_needed: "Reload needed",
    failed: "Not available",
  },
  why: {
    round: "Waiting for others to finish this round.",
    owner: "The owner paused this job.",
    busy: "The coordinator is busy. Trying again soon.",
    enough: "Enough helpers for now, thank you. You are in the queue.",
    elsewhere: "Already helping in another tab of this site.",
    hidden: "Rests while this tab is in the background.",
    visitor: "Nothing is computed until you resume.",
    page: "This page asked for a rest. You can resume.",
    connecting: "Connecting.",
    host: "This page allows no more.",
    background: "Lower while this tab is in the background.",
    battery: "Lower while on battery.",
    metered: "Lower while data is being saved.",
  },
  held: {
    host: "This page allows no work now.",
    battery: "Goes on once this device charges.",
  },
  end: {
    finished: {
      title: "Trained. Thank you.",
      text: "This job has all the work it needs. The model is free for everyone to take.",
    },
    stopped: {
      title: "Stopped.",
      text: "Nothing is running. Thank you for what you gave.",
      action: "Help again",
    },
    unsupported: {
      title: "This browser cannot help.",
      text: "A current Chromium, Firefox or Safari on a computer can.",
    },
    update_needed: {
      title: "A newer version is out.",
      text: "Reload to go on helping with it.",
      action: "Reload",
    },
    failed: {
      title: "This is not available now.",
      text: "Nothing is running on your device.",
      action: "Try again",
    },
  },
  declined: "Not helping. Nothing runs here.",
  changedMind: "Changed my mind",
  version: (version) => `Version ${version}`,
  helping: (count) => (count === 1 ? "1 helper now" : `${count} helpers now`),
  accuracy: "Accuracy",
  gave: "You gave",
  gaveText: (tasks, samples, one) => `${tasks} ${one ? "task" : "tasks"} · ${samples} samples`,
  gaveNothing: "your first task is on its way",
  refused: (detail) => `The last results were not accepted: ${detail}.`,
  device: "Device",
  deviceNone: "not measured yet",
  forced: "forced",
  share: "Use up to",
  shareNow: (share) => `now ${share}`,
  progress: (share) => `${share} of the training done`,
  ofData: (got, total) => (total === null ? got : `${got} of ${total}`),
  fold: "Fold to one line",
  unfold: "Unfold",
  pause: "Pause",
  resume: "Resume",
  stop: "Stop",
};

const LANGUAGES: Record<string, Strings> = { en };

/** The texts of the first of these languages that there is, and its tag for the page. */
export function stringsFor(tags: readonly string[]): { language: string; strings: Strings } {
  for (const tag of tags) {
    const language = tag.split("-")[0]?.toLowerCase() ?? "";
    const strings = LANGUAGES[language];
    if (strings) return { language, strings };
  }
  return { language: "en", strings: en };
}
