// Ranges of time in params: a range that was chosen, the step that suits it, and the one way in
// which params state a window.
//
// Knows the params that every metric with a time axis has. How long a tier is held is an estimate
// from the metric's description: the server judges.

import { windowMillis } from './format.js';

/** @import {Meta, Params, Texts} from '../types' */

const DAY = 86_400_000;
/** Most steps of a chart that is chosen here: more are narrower than a line. */
const MOST = 200;
/** With fewer steps a chosen range is worth finer ones. */
const FEW = 12;

/** Roughly how long a step is, in milliseconds. @param {string} step */
function stepMillis(step) {
  return windowMillis(step) ?? { '1mo': 30 * DAY, '1q': 91 * DAY, '1y': 365 * DAY }[step] ?? DAY;
}

/**
 * The finest step that a range can be shown in: held that far back, and not too many of them;
 * `undefined` without steps.
 * @param {string[]} steps from fine to coarse
 * @param {number} from @param {number} to Unix milliseconds
 * @param {{ pane: string, keep: string }[]} tiers from fine to coarse
 * @param {number} now
 */
export function stepFor(steps, from, to, tiers, now) {
  const tier = tiers.find(({ keep }) => (windowMillis(keep) ?? Infinity) >= now - from);
  const least = tier ? stepMillis(tier.pane) : 0;
  const held = steps.filter((step) => stepMillis(step) >= least);
  return held.find((step) => (to - from) / stepMillis(step) <= MOST) ?? held.at(-1);
}

/**
 * From when to when an answer counts, as far as it says.
 * @param {Meta} meta
 * @returns {[number, number]}
 */
export function spanOf({ window, history, as_of: now }) {
  const to = Date.parse(window?.to ?? now);
  const from = Date.parse(window?.from ?? history?.from ?? '');
  return [Number.isFinite(from) && from < to ? from : to - DAY, to];
}

/**
 * Params for a range that was chosen in a chart. Its steps become finer where few would be left.
 * @param {Params} params @param {number} from @param {number} to Unix milliseconds, `to` exclusive
 * @param {string[]} steps @param {{ pane: string, keep: string }[]} tiers @param {number} now
 * @returns {Params}
 */
export function ranged({ window: _, ...params }, from, to, steps, tiers, now) {
  const next = { ...params, from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  const step = stepFor(steps, from, to, tiers, now);
  const before = params.bucket;
  const few = before !== undefined && (to - from) / stepMillis(before) < FEW;
  return few && step && stepMillis(step) < stepMillis(before) ? { ...next, bucket: step } : next;
}

/**
 * What is typed, with one way of stating a window: a length takes the place of a range, and a start
 * that of a length.
 * @param {{ [key: string]: Texts }} before @param {{ [key: string]: Texts }} after
 * @returns {{ [key: string]: Texts }}
 */
export function oneWindow(before, after) {
  if (!after.window || !after.from) return after;
  return before.window === after.window ? { ...after, window: '' } : { ...after, from: '', to: '' };
}
