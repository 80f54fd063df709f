// Numbers, names and spans as people read them. Pure.

/** 12345 as `12,345`. */
export function count(value: number, language?: string): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(value);
}

/** 0.9634 as `96.3 %`; an absent value as a dash. */
export function percent(share: number | null | undefined, digits = 1): string {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
}

/** A loss or another small number; an absent value as a dash. */
export function decimal(value: number | null | undefined, digits = 3): string {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

/** 1.53e9 with unit `FLOP` as `1.53 GFLOP`. */
export function scaled(value: number, unit: string): string {
  let power = 0;
  let rest = value;
  while (rest >= 999.5 && power < PREFIXES.length - 1) {
    rest /= 1000;
    power += 1;
  }
  const digits = power === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${rest.toFixed(digits)} ${PREFIXES[power]}${unit}`;
}

/** 1500000 as `1.5 MB`, in steps that a person can compare. */
export function megabytes(bytes: number): string {
  const value = bytes / 1e6;
  return value < 0.1 ? "under 0.1 MB" : `${value.toFixed(value < 10 ? 1 : 0)} MB`;
}

/** 75000 as `1 min 15 s`. */
export function span(millis: number): string {
  const seconds = Math.max(0, Math.round(millis / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

/** How a backend is called in front of people. */
export function backendName(backend: string | null): string {
  const names: Record<string, string> = {
    webgpu: "WebGPU",
    wasm: "wasm SIMD",
    gpu: "native GPU",
    cpu: "native CPU",
  };
  return backend === null ? "measuring" : (names[backend] ?? backend);
}

/** An adapter's own words, shortened to what tells it apart. */
export function adapterName(adapter: string): string {
  return adapter.replace(/\s*\((?:0x|LLVM)[^)]*\)/g, "").trim();
}

/** The owner's contact as a link target, or nothing where it is neither an e-mail nor an https address. */
export function contactLink(contact: string): string | null {
  if (/^https:\/\/[^\s"<>]+$/.test(contact)) return contact;
  return /^[^\s@:/?#]+@[^\s@:/?#]+\.[^\s@:/?#]+$/.test(contact) ? "mailto:" + contact : null;
}
