// The answer to a question as a value that components draw: live, or asked once.
//
// Live answers are handed on at most four times a second and once a frame, the newest only. While
// the page is hidden, or paused, nothing is drawn. An answer stays when a later one fails;
// `problem` says why. What is not in sight is asked once, in its turn. A card asks no further for
// an answer that is larger than it can show.

import { effect, signal, useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect } from 'preact/hooks';
import { asProblem, measured, Problem } from './api.js';
import { keyOf } from '../lib/question.js';
import { watch } from './socket.js';
import { askInTurn } from './turns.js';

/** @import {Answer, Question} from '../types' */

const PACE_MS = 250;
/** Characters of an answer that a card takes. */
const CARD = 1024 * 1024;
/** What is still not in sight then is asked once. */
const AHEAD_MS = 1000;

/** While it is true nothing moves; what came meanwhile is drawn when it goes on. */
export const paused = signal(false);

/**
 * @typedef {object} Answered
 * @property {Answer | undefined} answer
 * @property {Question | undefined} of the question that it answers: after a change the last answer
 *   stays until the next
 * @property {Problem | undefined} problem
 * @property {boolean} busy whether nothing has come yet for this question
 * @property {number | undefined} large characters of an answer that is too large for the card
 */

/** @type {Answered} */
const NOTHING = {
  answer: undefined,
  of: undefined,
  problem: undefined,
  busy: true,
  large: undefined,
};

/**
 * Calls at most once in `PACE_MS`, with the newest value, and not while paused. All are called in
 * the same frame, so that the page is laid out and painted once for all of them; the first call is
 * at once.
 * @template T
 * @param {(value: T) => void} draw
 */
export function paced(draw) {
  /** @type {{ value: T } | undefined} */
  let newest;
  let drawn = -1;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let frame = 0;
  const now = () => {
    frame = 0;
    if (!newest || (paused.peek() && drawn > 0)) return;
    const { value } = newest;
    newest = undefined;
    drawn = performance.now();
    draw(value);
  };
  const plan = () => {
    if (!newest || timer !== undefined || frame) return;
    timer = setTimeout(
      () => {
        timer = undefined;
        frame = requestAnimationFrame(now);
      },
      drawn < 0 ? 0 : PACE_MS - (performance.now() % PACE_MS),
    );
  };
  const resumed = effect(() => {
    if (!paused.value) plan();
  });
  return {
    /** @param {T} value */
    put(value) {
      newest = { value };
      plan();
    },
    stop() {
      resumed();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    },
  };
}

/**
 * What is shown of the last answer while a metric is asked: nothing of another metric.
 * @param {Answered} last @param {string | undefined} metric @returns {Answered}
 */
export function carried(last, metric) {
  return metric !== undefined && last.of?.metric === metric
    ? { ...last, busy: true, problem: undefined }
    : { ...NOTHING, busy: metric !== undefined };
}

/**
 * One signal for as long as the component lives, so that what is computed from it follows every
 * question.
 * @param {(Question & { minInterval?: number }) | undefined} question nothing is asked without
 * @param {{ live?: boolean, again?: number, card?: boolean, seen?: boolean,
 *   ahead?: boolean }} [how] another `again` asks once more; `seen`: whether it is in sight;
 *   `ahead`: whether it is asked once before
 * @returns {import('@preact/signals').ReadonlySignal<Answered>}
 */
export function useAnswer(
  question,
  { live = true, again = 0, card = false, seen = true, ahead = true } = {},
) {
  const key = question ? keyOf(question) : '';
  const state = useSignal(NOTHING);
  // Before it is painted: another metric's answer does not fit.
  useLayoutEffect(() => {
    state.value = carried(state.peek(), question?.metric);
  }, [key, live, again]);
  useEffect(() => {
    const { answer: before, of, large } = state.peek();
    if (!question) return undefined;
    const same = of !== undefined && keyOf(of) === key;
    if (large && same) {
      state.value = { ...state.peek(), busy: false };
      return undefined;
    }
    const known = before && same;
    const pace = paced((/** @type {Answered} */ next) => {
      state.value = next;
    });
    /** @type {(() => void) | undefined} */
    let stop;
    /** @param {{ answer?: Answer, error?: any, size?: number }} told */
    const take = ({ answer, error, size = 0 }) => {
      const last = state.peek();
      const problem = error && (error instanceof Problem ? error : new Problem(error));
      if (card && size > CARD) {
        stop?.();
        pace.put({ ...NOTHING, of: question, busy: false, large: size });
      } else {
        pace.put({
          answer: answer ?? last.answer,
          of: answer ? question : last.of,
          problem,
          busy: false,
          large: undefined,
        });
      }
    };
    if (seen || !known)
      state.value = { ...state.peek(), busy: true, problem: undefined, large: undefined };
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    if (live && seen) {
      stop = watch(question, take);
    } else if (live && ahead && !known) {
      timer = setTimeout(() => {
        stop = askInTurn(question, take);
      }, AHEAD_MS);
    } else if (!live) {
      const ends = new AbortController();
      stop = () => ends.abort();
      measured(question, { signal: ends.signal }).then(take, (error) => {
        if (!ends.signal.aborted) take({ error: asProblem(error) });
      });
    }
    return () => {
      clearTimeout(timer);
      stop?.();
      pace.stop();
    };
  }, [key, live, again, seen]);
  return state;
}
