// Events backwards from a position, page by page: by the button, or by going beyond the last row.
//
// Keeps `KEPT`; beyond that it goes on from a new position, which the address then holds, so that
// the way back leads to what was there.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { asProblem, get } from '../data/api.js';
import { fmt } from '../data/settings.js';
import { canonical } from '../lib/question.js';
import { Rows } from '../parts/rows.js';
import { Failure, State } from '../parts/state.js';
import { Time } from '../parts/values.js';
import { href } from '../router.js';
import { queryOf } from './event-filter.js';
import { EventRow, LINE } from './event-row.js';

/** @import {EventMessage} from '../types' */
/** @import {Failure as Fault, Filter} from '../data/socket.js' */

const PAGE = 100;
const KEPT = 1000;
/** The server reads for two seconds, and may wait for its turn. */
const DEADLINE_MS = 30_000;

/** @param {Filter} filter @param {string | undefined} before @param {number} [limit] */
export function pastPath(filter, before, limit) {
  const given = Object.entries({ ...queryOf(filter), before, limit }).filter(([, value]) => value);
  const query = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return `api/events${query ? `?${query}` : ''}`;
}

/**
 * @typedef {{ items: EventMessage[], next: string | null | undefined, busy: boolean,
 *   problem?: import('../data/api.js').Problem }} Past
 */

/**
 * @param {{ filter: Filter, before: string | undefined, onTypes: (types: Iterable<string>) => void,
 *   onError: (error: Fault | undefined) => void }} props
 */
export function PastEvents({ filter, before, onTypes, onError }) {
  const [past, set] = useState(/** @type {Past} */ ({ items: [], next: before, busy: true }));
  const ends = useRef(/** @type {AbortController | undefined} */ (undefined));
  /** @param {string | undefined} from @param {EventMessage[]} items */
  const load = async (from, items) => {
    ends.current?.abort();
    const own = new AbortController();
    ends.current = own;
    set({ items, next: from, busy: true });
    try {
      const page = await get(pastPath(filter, from, PAGE), {
        signal: own.signal,
        deadline: DEADLINE_MS,
      });
      onTypes(page.items.map((/** @type {EventMessage} */ one) => one.event.event_type));
      onError(undefined);
      set({ items: [...items, ...page.items], next: page.next, busy: false });
    } catch (error) {
      if (own.signal.aborted) return;
      const problem = asProblem(error);
      // What is wrong with the position is no fault of a field.
      if (problem.code !== 'position_invalid') onError(problem);
      set({ items, next: from, busy: false, problem });
    }
  };
  useEffect(() => {
    void load(before, []);
    return () => ends.current?.abort();
  }, [canonical(filter), before]);

  const { items, next, busy, problem } = past;
  const full = items.length >= KEPT;
  const nowhere = problem?.code === 'position_invalid';
  const older = () => {
    if (!busy && !full && next !== null) void load(next, items);
  };
  const f = fmt.value;
  return html`
    ${
      items.length > 0
        ? html`<${Rows}
            class="feed"
            label="events of the log, the newest first"
            count=${items.length}
            height=${LINE}
            onEnd=${older}
            row=${(/** @type {number} */ at, /** @type {object} */ tie) =>
              html`<${EventRow} ...${items[at]} tie=${tie} />`}
          />`
        : null
    }
    ${
      items.length === 0 && !busy && !problem
        ? html`<${State}
            kind="nothing"
            title=${next === null ? 'The log holds no such event' : 'None found yet'}
          >
            ${
              next === null
                ? 'Everything before this position was read.'
                : 'Only a part of the log was read. Older records may match.'
            }
          <//>`
        : null
    }
    ${
      problem && (nowhere || !problem.errors.length)
        ? html`<${Failure}
            problem=${problem}
            title=${nowhere ? 'No position of the log' : undefined}
          />`
        : null
    }
    <div class="feed-foot">
      ${
        next === null
          ? html`<span class="dim">${items.length > 0 ? 'start of the log' : ''}</span>`
          : full
            ? html`<a
                class="button"
                href=${href('events', [], { ...queryOf(filter), back: 1, before: next })}
              >
                Continue from here
              </a>`
            : html`<button type="button" disabled=${busy || nowhere} onClick=${older}>
                ${problem ? 'Try again' : 'Older events'}
              </button>`
      }
      <span class="dim" role="status">
        ${
          busy
            ? 'reading the log…'
            : html`
                ${f.count(items.length, 'event')}${
                  items.length > 0
                    ? html`, back to <${Time} value=${items[items.length - 1].event.timestamp} />`
                    : null
                }
              `
        }
      </span>
    </div>
  `;
}
