// Questions that are asked by POST, one at a time: what finds no place on the WebSocket, and what
// nobody sees yet.
//
// However many wait, the server is asked one of them at once.

import { asProblem, measured } from './api.js';

/** @import {Answer, Question} from '../types' */

/** @typedef {{ answer?: Answer, size?: number, error?: import('./api.js').Problem }} Told */

/** @type {Promise<unknown>} */
let before = Promise.resolve();

/**
 * Asks when it is its turn; then again and again, if `every` says so.
 * @param {Question} question
 * @param {(told: Told) => void} tell
 * @param {number} [every] milliseconds after an answer
 * @returns {() => void} ends it
 */
export function askInTurn(question, tell, every) {
  const ends = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const once = async () => {
    if (ends.signal.aborted) return;
    if (document.visibilityState !== 'hidden' || !every) {
      const told = await measured(question, { signal: ends.signal }).catch((error) => ({
        error: asProblem(error),
      }));
      if (ends.signal.aborted) return;
      tell(told);
    }
    if (every) timer = setTimeout(turn, every);
  };
  const turn = () => {
    before = before.then(once, once);
  };
  turn();
  return () => {
    ends.abort();
    clearTimeout(timer);
  };
}
