// The status of an engine as views read it, whichever version it comes from: what an engine leaves
// out is an empty list or a group without members, so that no view fails on it.

/** @import {Status} from '../types' */

const LISTS = ['readiness', 'partitions', 'metrics', 'limits_hit', 'threads'];
const GROUPS = ['rate', 'log', 'lag', 'commits', 'store', 'catalogue', 'sockets', 'connections'];
const SHARES = ['state', 'answers', 'sockets'];

/** @param {any} value */
const group = (value) =>
  value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};

/** @param {any} found @returns {Status} */
export function wholeStatus(found) {
  const given = group(found);
  const memory = group(given.memory);
  return {
    ...given,
    ...Object.fromEntries(LISTS.map((key) => [key, Array.isArray(given[key]) ? given[key] : []])),
    ...Object.fromEntries(GROUPS.map((key) => [key, group(given[key])])),
    memory: { ...memory, ...Object.fromEntries(SHARES.map((key) => [key, group(memory[key])])) },
  };
}
