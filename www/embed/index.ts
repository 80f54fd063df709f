// Puts one <potluck-widget> into a page: an iframe of fixed size, served by the coordinator.
//
// This is the only code of ours that runs in the host's page, so it must stay small, must not
// fetch anything itself, and must not learn (nor let the host learn) what the visitor chose.

/** Where the widget sits in the page. */
export type Placement = "inline" | "corner";

/** What to mount, and how. */
export interface MountOptions {
  /** Address of the coordinator, such as `https://train.example.org/`. */
  coordinator: string;
  /** Name of the job. */
  job: string;
  /** Element that the widget is appended to; the body if absent. */
  target?: Element;
  /** `inline` (default) flows with the page; `corner` floats at its lower right. */
  placement?: Placement;
  /** `view` (default) loads once near the viewport; `click` sends no request before a click. */
  load?: "view" | "click";
  /** Colours; `auto` (default) follows the visitor's system. */
  theme?: "auto" | "light" | "dark";
  /** BCP 47 tag; the visitor's own languages if absent. */
  language?: string;
  /** Highest share of the device that may be used, 0 to 1. */
  shareMax?: number;
  /** Override for tests: results then say that it was forced. */
  backend?: "webgpu" | "cpu";
}

/**
 * The element. Dispatches `potluck:ready` with `detail.version` and `potluck:error` with
 * `detail.code` and `detail.message`, and nothing that tells yes, no and undecided apart.
 * A host may only lower what is given: there is no `start`.
 */
export interface PotluckWidget extends HTMLElement {
  /** Pauses the work; only the visitor can resume it. */
  pause(): void;
  /** Lowers the highest share of the device that may be used; values above the present one are ignored. */
  limit(shareMax: number): void;
  /** Ends the work, hands in what is done and removes the element. */
  destroy(): Promise<void>;
}

/** A refused iframe fires `load` like any other, so silence is the only sign; slow lines take their time. */
const HANDSHAKE_MILLIS = 20_000;

/** What the widget needs to hand in a partial task. The same span for all visitors, helping or not. */
const DESTROY_MILLIS = 2_000;

/** The same box for every choice: a script of the host cannot read the answer from the layout. */
const HEIGHT = 376;

/** In a corner the visitor can fold the card to its first line, whatever they chose, and only by hand. */
const HEIGHT_FOLDED = 46;

const BOX = "display:block;border:0;border-radius:16px;overflow:hidden;";
const PLACES: Record<Placement, string> = {
  inline: "position:relative;width:100%;max-width:400px;",
  // Hidden until the handshake, so that a card that was folded on the last page does not flash open.
  corner:
    "position:fixed;right:16px;bottom:16px;width:calc(100vw - 32px);max-width:360px;z-index:2147483000;" +
    "visibility:hidden;",
};

const FRAME_TITLE = "Potluck: an optional question about helping to train a model";

/** Mounts a widget and returns its element at once. */
export function mount(options: MountOptions): PotluckWidget {
  const element = create(options);
  (options.target ?? document.body).append(element);
  return element;
}

/** Makes the element without placing it: moving it later would reload the iframe. */
export function create(options: MountOptions): PotluckWidget {
  if (!customElements.get("potluck-widget")) customElements.define("potluck-widget", defineElement());
  const element = document.createElement("potluck-widget") as PotluckWidget & { begin(o: MountOptions): void };
  element.begin(options);
  return element;
}

/** The class is made on demand, so that this module can be imported where there is no DOM. */
function defineElement(): CustomElementConstructor {
  return class extends HTMLElement {
    #root = this.attachShadow({ mode: "closed" });
    #options: MountOptions | undefined;
    #frame: HTMLIFrameElement | undefined;
    #watch: IntersectionObserver | undefined;
    #timer = 0;
    /** Said before the frame could hear. */
    #unheard: object[] = [];

    begin(options: MountOptions): void {
      this.#options = options;
      this.style.cssText = BOX + PLACES[options.placement ?? "inline"];
      this.#fold(false);
    }

    connectedCallback(): void {
      const options = this.#options;
      if (!options || this.#frame) return;
      if (!isSecureContext) return this.#fail("insecure_context", "the page must be served over https");
      if (options.load === "click") return this.#invite(options);
      this.#watch = new IntersectionObserver(
        (entries) => entries.some((entry) => entry.isIntersecting) && this.#load(options),
        { rootMargin: "200px" },
      );
      this.#watch.observe(this);
    }

    disconnectedCallback(): void {
      this.#watch?.disconnect();
      clearTimeout(this.#timer);
      removeEventListener("message", this.#hear);
    }

    pause(): void {
      this.#tell({ potluck: "pause" });
    }

    limit(shareMax: number): void {
      const options = this.#options;
      if (!options || !(shareMax >= 0) || shareMax >= (options.shareMax ?? 1)) return;
      options.shareMax = shareMax;
      this.#tell({ potluck: "limit", share_max: shareMax });
    }

    async destroy(): Promise<void> {
      this.style.visibility = "hidden";
      this.#tell({ potluck: "leave" });
      // Waiting for an answer would tell the host whether there was work to hand in.
      await new Promise((resolve) => setTimeout(resolve, DESTROY_MILLIS));
      this.remove();
    }

    #fold(folded: boolean): void {
      this.style.height = `${folded ? HEIGHT_FOLDED : HEIGHT}px`;
    }

    /** Draws a still picture of a question; nothing is requested before it is clicked. */
    #invite(options: MountOptions): void {
      this.style.visibility = "visible";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Help train a model with this device? Click to read more.";
      button.style.cssText =
        "all:unset;box-sizing:border-box;display:flex;align-items:center;justify-content:center;width:100%;" +
        "height:100%;padding:32px;border:1px solid #8886;border-radius:16px;cursor:pointer;text-align:center;" +
        "font:15px/1.5 system-ui,sans-serif";
      button.onfocus = () => button.matches(":focus-visible") && (button.style.outline = "2px solid");
      button.onblur = () => (button.style.outline = "");
      button.onclick = () => {
        button.remove();
        this.#load(options);
      };
      this.#root.append(button);
    }

    #load(options: MountOptions): void {
      this.#watch?.disconnect();
      if (this.#frame) return;
      const frame = (this.#frame = document.createElement("iframe"));
      frame.title = FRAME_TITLE;
      frame.setAttribute(
        "sandbox",
        "allow-scripts allow-same-origin allow-popups allow-popups-to-escape-sandbox",
      );
      frame.style.cssText = BOX + "width:100%;height:100%";
      frame.src = frameAddress(options);
      addEventListener("message", this.#hear);
      this.#timer = setTimeout(
        () => this.#fail("timeout", "the widget did not answer; is this site among the job's origins?"),
        HANDSHAKE_MILLIS,
      );
      this.#root.append(frame);
    }

    /** Believes only the frame that it made, and only from the coordinator's own origin. */
    #hear = (event: MessageEvent): void => {
      const frame = this.#frame;
      if (!frame || event.source !== frame.contentWindow || event.origin !== new URL(frame.src).origin) return;
      const said = event.data?.potluck;
      if (said === "fold" && this.#options?.placement === "corner") this.#fold(event.data.folded === true);
      if (said !== "ready" || !this.#timer) return;
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.style.visibility = "visible";
      for (const message of this.#unheard.splice(0)) this.#tell(message);
      this.#say("ready", { version: String(event.data.version) });
    };

    #tell(message: object): void {
      const frame = this.#frame;
      if (!frame || this.#timer) this.#unheard.push(message);
      else frame.contentWindow?.postMessage(message, new URL(frame.src).origin);
    }

    #fail(code: string, message: string): void {
      this.#timer = 0;
      this.#frame?.remove();
      this.style.display = "none";
      this.#say("error", { code, message });
    }

    #say(name: string, detail: object): void {
      this.dispatchEvent(new CustomEvent("potluck:" + name, { detail, bubbles: true, composed: true }));
    }
  };
}

function frameAddress(options: MountOptions): string {
  const { coordinator, job, placement, theme, language, shareMax, backend } = options;
  const address = new URL("widget/" + encodeURIComponent(job), coordinator.replace(/\/?$/, "/"));
  const asked = { placement, theme, language, share_max: shareMax, backend };
  for (const [name, value] of Object.entries(asked)) {
    if (value !== undefined) address.searchParams.set(name, String(value));
  }
  return address.href;
}
