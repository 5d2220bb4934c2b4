// The newest events that suit a filter, as a value that is drawn at most four times a second,
// however many come.
//
// Keeps `MOST`. What the server left out is a row of its own, at its place, and is counted. Goes on
// after a loss of the connection without a gap, or says which.

import { signal } from '@preact/signals';
import { meter } from '../lib/rate.js';
import { listen } from './socket.js';

/** @import {EventMessage} from '../types' */
/** @import {Failure, Filter} from './socket.js' */

/** @typedef {EventMessage | { skipped: number } | { gap: { from: string, to: string } }} FeedRow */

/**
 * @typedef {object} FeedState
 * @property {FeedRow[]} rows the newest first
 * @property {number} came rows that ever came
 * @property {number} skipped events that the server left out
 * @property {number | undefined} rate events a second, those left out too; `undefined` before it is
 *   known
 * @property {Failure | undefined} error
 */

/**
 * What came since it was last asked for: what is said aloud.
 * @typedef {{ events: number, skipped: number, types: Map<string, number> }} Tally
 */

export const MOST = 500;
const PACE_MS = 250;
/** Types that are told apart. */
const TYPES = 64;

/** @returns {Tally} */
const nothing = () => ({ events: 0, skipped: 0, types: new Map() });

/** @param {Filter} filter */
export function openFeed(filter) {
  /** The newest last; twice `MOST` at most, so that room is made seldom. @type {FeedRow[]} */
  const kept = [];
  const state = signal(
    /** @type {FeedState} */ ({ rows: [], came: 0, skipped: 0, rate: undefined, error: undefined }),
  );
  let tally = nothing();
  let came = 0;
  let events = 0;
  let skipped = 0;
  /** @type {Failure | undefined} */
  let error;
  const rate = meter();

  /** @param {FeedRow} row */
  const add = (row) => {
    kept.push(row);
    if (kept.length > 2 * MOST) kept.splice(0, MOST);
    came += 1;
  };
  const stop = listen(filter, (message) => {
    const { event, skipped: count, gap } = message;
    error = message.error;
    if (event) {
      add(event);
      events += 1;
      tally.events += 1;
      const type = event.event.event_type;
      const known = tally.types.get(type);
      if (known !== undefined || tally.types.size < TYPES) tally.types.set(type, (known ?? 0) + 1);
    } else if (count) {
      const last = kept.at(-1);
      if (last && 'skipped' in last) kept[kept.length - 1] = { skipped: last.skipped + count };
      else add({ skipped: count });
      skipped += count;
      tally.skipped += count;
    } else if (gap) {
      add({ gap });
    }
  });
  let frame = 0;
  const draw = () => {
    frame = 0;
    const before = state.peek();
    const now = rate(performance.now(), events + skipped);
    const same = came === before.came && skipped === before.skipped;
    if (same && now === before.rate && error === before.error) return;
    state.value = {
      rows: same ? before.rows : kept.slice(-MOST).reverse(),
      came,
      skipped,
      rate: now,
      error,
    };
  };
  const timer = setInterval(() => {
    if (!frame) frame = requestAnimationFrame(draw);
  }, PACE_MS);
  return {
    state,
    tally() {
      const told = tally;
      tally = nothing();
      return told;
    },
    close() {
      stop();
      clearInterval(timer);
      cancelAnimationFrame(frame);
    },
  };
}
