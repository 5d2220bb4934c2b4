// What a path answers, as a value of a component: asked once; again when told to, when the body has come
// to rest after a change, or again and again while the page is seen.
//
// What was answered stays while it is asked for again, and when that fails; `of` says what it answers.
// What is no longer wanted is ended.

import { useEffect, useState } from 'preact/hooks';
import { paused } from './answer.js';
import { asProblem, get } from './api.js';
import { visible } from './clock.js';

const DEADLINE_MS = 20_000;
/** The server is busy: how long until it is asked again. */
const BUSY_MS = 1000;

/**
 * @template T
 * @typedef {object} State
 * @property {T | undefined} data
 * @property {any} of the body that the data answers; the path where there is none
 * @property {import('./api.js').Problem | undefined} problem of the last request, if it failed
 * @property {boolean} busy whether what is asked has not been answered yet
 */
/** @template T @typedef {State<T> & { again: () => void }} Loaded */

/**
 * @template T
 * @param {string | undefined} path nothing is asked without
 * @param {{ key?: string, body?: any, pause?: number, every?: number }} [how] another `key` or body asks again; a body
 *   is posted after `pause`; `every`: milliseconds between two requests
 * @returns {Loaded<T>}
 */
export function useLoaded(path, { key, body, pause = 0, every = 0 } = {}) {
  const [turn, setTurn] = useState(0);
  const [state, set] = useState(/** @type {State<T>} */ ({ data: undefined, of: undefined, problem: undefined, busy: true }));
  useEffect(() => {
    const ends = new AbortController();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    let first = true;
    const ask = async () => {
      let wait = every;
      if (first || (visible.peek() && !paused.peek())) {
        first = false;
        try {
          const data = await get(path ?? '', { method: body ? 'POST' : 'GET', body, signal: ends.signal, deadline: DEADLINE_MS });
          set({ data, of: body ?? path, problem: undefined, busy: false });
        } catch (error) {
          if (ends.signal.aborted) return;
          const problem = asProblem(error);
          const busy = problem.code === 'overloaded';
          if (busy) wait = BUSY_MS;
          set((before) => ({ ...before, problem, busy }));
        }
      }
      if (wait && !ends.signal.aborted) timer = setTimeout(ask, wait);
    };
    set((before) => ({ ...before, problem: undefined, busy: Boolean(path) }));
    if (path) timer = setTimeout(ask, pause);
    return () => {
      clearTimeout(timer);
      ends.abort();
    };
  }, [path, key, JSON.stringify(body), every, turn]);
  return { ...state, again: () => setTurn((count) => count + 1) };
}
