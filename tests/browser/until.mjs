// Waiting for a condition, with a deadline and a sentence for when it does not come.

/** Between two looks: short against anything that is waited for, long against a look. */
const LOOK_MILLIS = 100;

/** What a busy two-core machine may need for anything that is not training. */
export const WAIT_MILLIS = 60_000;

/**
 * The first value of `probe` that is not null, undefined or false.
 * @template T
 * @param {string} what what is waited for, for the error
 * @param {() => Promise<T | null | undefined | false> | T | null | undefined | false} probe
 * @param {number} [millis]
 * @returns {Promise<T>}
 */
export async function until(what, probe, millis = WAIT_MILLIS) {
  const deadline = performance.now() + millis;
  let last = "";
  for (;;) {
    try {
      const value = await probe();
      if (value !== null && value !== undefined && value !== false) return value;
      last = "";
    } catch (error) {
      last = `; last: ${error instanceof Error ? error.message : error}`;
    }
    if (performance.now() > deadline) throw new Error(`waited ${millis / 1000} s in vain for ${what}${last}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MILLIS));
  }
}
