// A value of the server that is asked for again and again while the page is seen.
//
// One request at a time, each with a deadline; the last value stays when one fails, with the time at
// which it was true and the problem.

import { signal } from '@preact/signals';
import { ask, asProblem } from './api.js';

/**
 * @template T
 * @typedef {object} Polled
 * @property {T | undefined} data
 * @property {number | undefined} at Unix milliseconds of the data
 * @property {import('./api.js').Problem | undefined} problem of the last request, if it failed
 */

/**
 * @template T
 * @param {string} path @param {number} every milliseconds
 * @param {(found: any) => T} [read] makes the value of what was answered
 * @returns {{ value: import('@preact/signals').Signal<Polled<T>>, again: () => void, start: () => () => void }} `start` answers what ends it
 */
export function polled(path, every, read = (found) => found) {
  const value = signal(/** @type {Polled<T>} */ ({ data: undefined, at: undefined, problem: undefined }));
  /** @type {string | undefined} */
  let etag;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let busy = false;
  let wanted = false;
  let over = false;

  async function once() {
    if (busy) {
      wanted = true;
      return;
    }
    busy = true;
    wanted = false;
    clearTimeout(timer);
    try {
      const found = await ask(path, { etag, deadline: Math.max(5000, every) });
      if (found.status === 304) value.value = { ...value.peek(), at: Date.now(), problem: undefined };
      else value.value = { data: read(found.data), at: Date.now(), problem: undefined };
      etag = found.etag ?? undefined;
    } catch (error) {
      value.value = { ...value.peek(), problem: asProblem(error) };
    }
    busy = false;
    if (over) return;
    if (wanted) void once();
    else if (document.visibilityState !== 'hidden') timer = setTimeout(once, every);
  }

  return {
    value,
    again: () => void once(),
    start: () => {
      const seen = () => {
        if (document.visibilityState !== 'hidden') void once();
      };
      document.addEventListener('visibilitychange', seen);
      void once();
      return () => {
        over = true;
        clearTimeout(timer);
        document.removeEventListener('visibilitychange', seen);
      };
    },
  };
}
