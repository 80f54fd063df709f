// What a reader can do: help, embed, take the model; and what the owner can do with a token.

import type { Api, JobStatus } from "../common/api.ts";
import { ApiError } from "../common/api.ts";
import { count } from "../common/format.ts";
import { h, setText } from "../common/dom.ts";

/** Only this tab, only until it closes. */
const TOKEN = "potluck-owner-token";

interface Part {
  element: HTMLElement;
  update(status: JobStatus): void;
}

export function aside(api: Api, job: string): Part {
  const parts = [takePart(api, job), modelBox(api, job), ownerBox(api, job)];
  const element = h("aside", { "aria-label": "Take part" }, ...parts.map((part) => part.element));
  return { element, update: (status) => parts.forEach((part) => part.update(status)) };
}

function takePart(api: Api, job: string): Part {
  const join = new URL("join/" + encodeURIComponent(job), api.root).href;
  const tag = `<script src="${new URL("embed.js", api.root).href}" data-job="${job}" async crossorigin></script>`;
  const code = h("code", {}, tag);
  const copied = h("span", { class: "note", role: "status" });
  const copy = h("button", { type: "button", class: "button small" }, "Copy");
  copy.addEventListener("click", () => void copyText(tag, code, copied));
  const element = h(
    "section",
    { class: "box" },
    h("h2", {}, "Take part"),
    h("p", { class: "soft" }, "Give this job some of your device’s time. You are asked first, and can stop at any moment."),
    h("a", { class: "button link", href: join }, "Open the join page"),
    h("h3", {}, "On your own site"),
    h("pre", { tabindex: "0", role: "region", "aria-label": "Embed tag" }, code),
    h("div", { class: "row" }, copy, copied),
  );
  return { element, update() {} };
}

async function copyText(text: string, shown: HTMLElement, said: HTMLElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    setText(said, "Copied.");
  } catch {
    // Without the permission it is at least selected.
    getSelection()?.selectAllChildren(shown);
    setText(said, "Selected; copy it with your keyboard.");
  }
}

function modelBox(api: Api, job: string): Part {
  const facts = h("p", { class: "soft" });
  const address = api.jobAddress(job, "/model.safetensors");
  const link = h("a", { class: "button link", href: address, download: true }, "model.safetensors");
  const element = h("section", { class: "box" }, h("h2", {}, "The model"), facts, link);
  return {
    element,
    update({ card, version }) {
      setText(facts, `${count(card.program.parameters)} parameters at version ${version}, ${card.licence}.`);
    },
  };
}

function ownerBox(api: Api, job: string): Part {
  const token = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false" });
  token.value = remembered();
  const said = h("p", { class: "note", role: "status" });
  const buttons = (["pause", "resume", "stop"] as const).map((control) => {
    const name = control[0]!.toUpperCase() + control.slice(1);
    const button = h("button", { type: "button", class: "button small", "data-control": control }, name);
    button.addEventListener("click", () => void order(api, job, control, token.value.trim(), said));
    return { control, button };
  });
  const label = h("label", { for: "token" }, "Owner token");
  const row = h("div", { class: "row" }, ...buttons.map(({ button }) => button));
  // A form only so that password managers know the field; it is never sent.
  const form = h("form", {}, label, token, row, said);
  form.addEventListener("submit", (event) => event.preventDefault());
  const body = h("details", {}, h("summary", {}, h("h2", {}, "For the owner")), form);
  return {
    element: h("section", { class: "box owner" }, body),
    update({ phase }) {
      for (const { control, button } of buttons) {
        button.disabled = phase === "finished" || control === (phase === "paused" ? "pause" : "resume");
      }
    },
  };
}

async function order(
  api: Api,
  job: string,
  control: "pause" | "resume" | "stop",
  token: string,
  said: HTMLElement,
): Promise<void> {
  try {
    await api.control(job, control, token);
    remember(token);
    setText(said, { pause: "Paused.", resume: "Resumed.", stop: "Stopped." }[control]);
  } catch (error) {
    const wrong = error instanceof ApiError && (error.status === 401 || error.status === 403);
    setText(said, wrong ? "That is not the owner token of this coordinator." : `Not done: ${(error as Error).message}`);
  }
}

function remembered(): string {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return "";
  }
}

function remember(token: string): void {
  try {
    sessionStorage.setItem(TOKEN, token);
  } catch {
    // A browser without storage asks for it again.
  }
}
