// The differences of two JSON answers.
//
// Lists of rows that have an id are compared by it, others by their place. At most `MOST`
// differences are listed; `more` says that there are others.

import { below } from './pointer.js';

const MOST = 1000;

/**
 * @typedef {object} Difference
 * @property {string} pointer
 * @property {'changed' | 'added' | 'removed'} kind
 * @property {any} [before]
 * @property {any} [after]
 */

/** @param {any} value */
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** @param {any[]} rows @returns {string | undefined} the member that tells them apart */
function idOf(rows) {
  if (rows.length === 0 || !rows.every(isObject)) return undefined;
  return Object.keys(rows[0]).find((key) => {
    const own = new Set(rows.map((row) => row[key]));
    return /(_id|^start|^event_type)$/.test(key) && own.size === rows.length && !own.has(undefined);
  });
}

/** @param {any} value @returns {Record<string, any>} */
function membersOf(value, id = '') {
  if (!Array.isArray(value)) return value;
  return Object.fromEntries(value.map((one, at) => [id ? `${id}=${one[id]}` : at, one]));
}

/**
 * @param {any} before @param {any} after
 * @returns {{ differences: Difference[], more: boolean }}
 */
export function compare(before, after) {
  /** @type {Difference[]} */
  const differences = [];
  /** @param {Difference} one */
  const add = (one) => {
    if (differences.length <= MOST) differences.push(one);
  };
  /** @param {any} a @param {any} b @param {string} at */
  const walk = (a, b, at) => {
    const lists = Array.isArray(a) && Array.isArray(b);
    if (differences.length > MOST || Object.is(a, b)) return;
    if (!lists && !(isObject(a) && isObject(b))) {
      add({ pointer: at, kind: 'changed', before: a, after: b });
      return;
    }
    const id = lists ? idOf(a) : undefined;
    const shared = id !== undefined && (b.length === 0 || idOf(b) === id) ? id : '';
    const [left, right] = [membersOf(a, shared), membersOf(b, shared)];
    for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
      const pointer = below(at, key);
      if (!Object.hasOwn(right, key)) add({ pointer, kind: 'removed', before: left[key] });
      else if (!Object.hasOwn(left, key)) add({ pointer, kind: 'added', after: right[key] });
      else walk(left[key], right[key], pointer);
    }
  };
  walk(before, after, '');
  return { differences: differences.slice(0, MOST), more: differences.length > MOST };
}
