// A value of the server that is asked for: once, when it is told so, or again and again while the
// page is seen.
//
// One request at a time, each with a deadline, and a while between two; the last value stays when
// one fails, with the time at which it was true and the problem. A server that is busy is asked by
// and by ever more slowly, and not before it says. Ends with what `start` answers: also the request
// that is under way.

import { signal } from '@preact/signals';
import { ask, asProblem } from './api.js';

/** Two requests begin so far apart, however often it is told to ask. */
const APART_MS = 500;
/** A busy server is asked again after this time, doubled each time. */
const [BUSY_MS, BUSY_MOST_MS] = [1000, 60_000];

/**
 * @template T
 * @typedef {object} Polled
 * @property {T | undefined} data
 * @property {any} of the body that the data answers; the path where there is none
 * @property {number | undefined} at Unix milliseconds of the data
 * @property {import('./api.js').Problem | undefined} problem of the last request, if it failed
 * @property {boolean} busy whether what is asked has not been answered yet
 */

/** @type {Polled<any>} */
export const NOTHING = {
  data: undefined,
  of: undefined,
  at: undefined,
  problem: undefined,
  busy: true,
};

/**
 * How long until a server that was busy is asked again.
 * @param {number} tries since it was not @param {number} [told] seconds that it asks for
 */
export function patience(tries, told = 0) {
  return Math.min(BUSY_MOST_MS, Math.max(told * 1000, BUSY_MS * 2 ** tries));
}

/**
 * @template T
 * @param {string} path
 * @param {number} every milliseconds after an answer; 0: once
 * @param {{ body?: any, pause?: number, deadline?: number, held?: () => boolean,
 *   read?: (found: any) => T, value?: import('@preact/signals').Signal<Polled<T>> }} [how] a body
 *   is posted; `pause`: before the first; nothing is asked by and by while `held`; `read` makes the
 *   value of what was answered
 * @returns {{ value: import('@preact/signals').Signal<Polled<T>>, again: () => void,
 *   start: () => () => void }} `start` answers what ends it
 */
export function polled(
  path,
  every,
  {
    body,
    pause = 0,
    deadline = Math.max(5000, every),
    held = () => false,
    read = (found) => found,
    value = signal(NOTHING),
  } = {},
) {
  /** @type {string | undefined} */
  let etag;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let begun = -APART_MS;
  let busy = false;
  let wanted = false;
  let tries = 0;
  const ends = new AbortController();
  const { signal: ended } = ends;

  /** @param {number} wait @param {() => void} [then] */
  const plan = (wait, then = once) => {
    clearTimeout(timer);
    timer = ended.aborted ? undefined : setTimeout(then, wait);
  };
  const again = () => {
    wanted = busy;
    if (!busy) plan(Math.max(0, APART_MS - (performance.now() - begun)));
  };
  const byAndBy = () => {
    if (held()) plan(every || BUSY_MS, byAndBy);
    else void once();
  };

  async function once() {
    busy = true;
    wanted = false;
    begun = performance.now();
    let wait = every;
    try {
      const method = body ? 'POST' : 'GET';
      const found = await ask(path, { method, body, etag, deadline, signal: ended });
      if (ended.aborted) return;
      etag = body ? undefined : (found.etag ?? undefined);
      const { data } = value.peek();
      value.value = {
        data: found.status === 304 ? data : read(found.data),
        of: body ?? path,
        at: Date.now(),
        problem: undefined,
        busy: false,
      };
      tries = 0;
    } catch (error) {
      if (ended.aborted) return;
      const problem = asProblem(error);
      const full = problem.code === 'overloaded';
      if (full || problem.retryAfter) {
        wait = Math.max(wait, patience(tries, problem.retryAfter));
        tries += 1;
      } else tries = 0;
      value.value = { ...value.peek(), problem, busy: full };
    }
    busy = false;
    if (wanted) again();
    else if (wait && !(every && document.visibilityState === 'hidden')) plan(wait, byAndBy);
  }

  return {
    value,
    again,
    start: () => {
      const seen = () => {
        if (document.visibilityState !== 'hidden' && every && !busy) byAndBy();
      };
      document.addEventListener('visibilitychange', seen);
      plan(pause);
      return () => {
        ends.abort();
        clearTimeout(timer);
        document.removeEventListener('visibilitychange', seen);
      };
    },
  };
}
