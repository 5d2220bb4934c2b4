// What a path answers, as a value of a component: asked once; again when told to, when the body has
// come to rest after a change, or again and again while the page is seen.
//
// What was answered stays while it is asked for again, and when that fails; `of` says what it
// answers. What is no longer wanted is ended.

import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { paused } from './answer.js';
import { NOTHING, polled } from './poll.js';

const DEADLINE_MS = 20_000;

/** @template T @typedef {import('./poll.js').Polled<T> & { again: () => void }} Loaded */

/**
 * @template T
 * @param {string | undefined} path nothing is asked without
 * @param {{ key?: string, body?: any, pause?: number,
 *   every?: number }} [how] another `key` or body asks again; a body is posted after `pause`;
 *   `every`: milliseconds between two requests
 * @returns {Loaded<T>}
 */
export function useLoaded(path, { key, body, pause = 0, every = 0 } = {}) {
  const value = useSignal(NOTHING);
  const poll = useRef(/** @type {() => void} */ (() => {}));
  const begin = () => {
    value.value = { ...value.peek(), problem: undefined, busy: Boolean(path) };
  };
  useEffect(() => {
    begin();
    if (!path) return undefined;
    const deadline = DEADLINE_MS;
    const { again, start } = polled(path, every, {
      body,
      pause,
      deadline,
      held: () => paused.peek(),
      value,
    });
    poll.current = again;
    return start();
  }, [path, key, JSON.stringify(body), every]);
  const again = () => {
    begin();
    poll.current();
  };
  return { ...value.value, again };
}
