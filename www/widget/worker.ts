// The module worker: loads the wasm and passes commands in and events out. Holds no state of its
// own, and is fetched only after a yes.

import type { StartOptions, VolunteerEvent, WorkerCommand, WorkerReport } from "./events.ts";
import { wasmBuild } from "./variant.ts";

interface VolunteerHandle {
  pause(): void;
  resume(): void;
  setShare(share: number): void;
  stop(): Promise<void>;
}

interface Glue {
  default(input: { module_or_path: URL }): Promise<unknown>;
  VolunteerHandle: { start(options: StartOptions, onEvent: (event: VolunteerEvent) => void): VolunteerHandle };
}

const report = (message: WorkerReport): void => postMessage(message);

/** Commands that come while the wasm still loads wait for it here. */
let handle: Promise<VolunteerHandle> | undefined;

async function start(options: StartOptions): Promise<VolunteerHandle> {
  const files = wasmBuild();
  const glue = (await import(new URL(files.glue, import.meta.url).href)) as Glue;
  await glue.default({ module_or_path: new URL(files.wasm, import.meta.url) });
  return glue.VolunteerHandle.start(options, (event) => report({ event }));
}

async function obey(message: WorkerCommand): Promise<void> {
  if (message.command === "start") {
    handle = start(message.options);
    await handle;
    return;
  }
  const volunteer = await handle;
  switch (message.command) {
    case "pause":
      return volunteer?.pause();
    case "resume":
      return volunteer?.resume();
    case "share":
      return volunteer?.setShare(message.share);
    case "stop":
      await volunteer?.stop();
      return report({ done: true });
  }
}

onmessage = (message: MessageEvent<WorkerCommand>): void => {
  obey(message.data).catch((error: unknown) => {
    // No wasm SIMD is the one fault that is the browser's; everything else is ours.
    const unsupported = error instanceof WebAssembly.CompileError;
    const text = String(error instanceof Error ? error.message : error);
    report({ event: unsupported ? { type: "unsupported", reason: text } : { type: "crashed", detail: text } });
    if (message.data.command === "stop") report({ done: true });
  });
};
