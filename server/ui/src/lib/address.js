// Addresses: the params that one holds, and whether it is of this machine only.

/** @import {Params} from '../types' */

import { isDeep } from './depth.js';

/** Longest text of params that is read. */
const LONGEST = 64 * 1024;

/**
 * The params of a text; `undefined` where it holds none, or is no object of JSON, or a deep one.
 * @param {string | undefined} text
 * @returns {Params | undefined}
 */
export function paramsOf(text) {
  if (text === undefined || text.length > LONGEST) return undefined;
  try {
    const value = JSON.parse(text);
    const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
    return isObject && !isDeep(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether a host is this machine, and no other one can reach it by this name.
 * @param {string} host as `location.hostname` has it
 */
export const isLocal = (host) =>
  /^(localhost|.*\.localhost|127\..*|\[::1\]|0\.0\.0\.0)$/.test(host);
