// Params as an address holds them.

/** @import {Params} from '../types' */

/** Longest text of params that is read. */
const LONGEST = 64 * 1024;

/**
 * The params of a text; `undefined` where it holds none, or is no object of JSON.
 * @param {string | undefined} text
 * @returns {Params | undefined}
 */
export function paramsOf(text) {
  if (text === undefined || text.length > LONGEST) return undefined;
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
