// How deep JSON may be that somebody gives: whatever walks through it walks no deeper.

/** Levels of lists and objects in each other. */
export const DEEPEST = 64;

/**
 * Whether a value is deeper. Itself it goes no deeper than that.
 * @param {any} value @param {number} [levels]
 * @returns {boolean}
 */
export function isDeep(value, levels = DEEPEST) {
  if (value === null || typeof value !== 'object') return false;
  return levels === 0 || Object.values(value).some((one) => isDeep(one, levels - 1));
}
