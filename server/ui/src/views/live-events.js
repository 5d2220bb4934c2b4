// The live feed: the newest events that suit the filter. It holds still while it is paused,
// scrolled or read with the keyboard, and says how many have come meanwhile.
//
// Every ten seconds one sentence says what came, for those who do not see it.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { paused } from '../data/answer.js';
import { Problem } from '../data/api.js';
import { visible } from '../data/clock.js';
import { MOST, openFeed } from '../data/feed.js';
import { fmt } from '../data/settings.js';
import { live as heard } from '../data/silence.js';
import { status } from '../data/status.js';
import { canonical } from '../lib/question.js';
import { Rows } from '../parts/rows.js';
import { Failure, State } from '../parts/state.js';
import { href } from '../router.js';
import { queryOf } from './event-filter.js';
import { EventRow, LINE } from './event-row.js';

/** @import {FeedRow, Tally} from '../data/feed.js' */
/** @import {Failure as Fault, Filter} from '../data/socket.js' */

const SAY_MS = 10_000;

/** @param {Tally} tally */
function sentence({ events, skipped, types }) {
  const f = fmt.peek();
  const most = [...types]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 4)
    .map(([type, count]) => `${type} ${f.number(count)}`);
  return (
    `${f.count(events, 'event')} in the last 10 seconds` +
    `${most.length ? `: ${most.join(', ')}` : ''}${skipped ? `; ${f.number(skipped)} skipped` : ''}`
  );
}

/** @param {FeedRow} row @param {object} tie */
function line(row, tie) {
  if ('event' in row) return html`<${EventRow} ...${row} tie=${tie} />`;
  const text =
    'skipped' in row
      ? `${fmt.value.number(row.skipped)} skipped: more came than this page was sent`
      : `left out: what came from ${row.gap.from} to ${row.gap.to}`;
  return html`<div class="event left-out" tabindex=${/** @type {any} */ (tie).tabindex} ...${tie}>
    <span class="cut" title=${text}>${text}</span>
  </div>`;
}

function Nothing() {
  const empty = status.value?.partitions.every((one) => one.end === 0);
  return empty
    ? html`<${State}
        kind="empty"
        command=${`tally produce --rate 10 --url ${new URL('.', location.href).href}`}
      >
        Events appear here as they are counted.
      <//>`
    : html`<${State} kind="nothing" title="Waiting for the next event">
        ${'No event has matched these filters since this view was opened. '}
        <a href=${href('events', [], { back: 1 })}>Browse past events<//>
      <//>`;
}

/**
 * @param {{ filter: Filter, onTypes: (types: Iterable<string>) => void,
 *   onError: (error: Fault | undefined) => void }} props
 */
export function LiveEvents({ filter, onTypes, onError }) {
  const key = canonical(filter);
  const feed = useMemo(() => openFeed(filter), [key]);
  useEffect(() => () => feed.close(), [feed]);
  const { rows, came, skipped, rate, error } = feed.state.value;
  const [reading, setReading] = useState(false);
  const [turn, setTurn] = useState(0);
  const [said, say] = useState('');
  const held = reading || paused.value;
  const shown = useRef({ feed, rows, came, turn });
  if (!held || shown.current.feed !== feed || shown.current.turn !== turn)
    shown.current = { feed, rows, came, turn };
  const fresh = came - shown.current.came;

  useEffect(() => {
    const timer = setInterval(() => {
      const tally = feed.tally();
      onTypes(tally.types.keys());
      if (visible.peek() && !paused.peek())
        say(tally.events + tally.skipped ? sentence(tally) : '');
    }, SAY_MS);
    return () => clearInterval(timer);
  }, [feed]);
  useEffect(
    () => onTypes(rows.flatMap((row) => ('event' in row ? [row.event.event_type] : []))),
    [feed, rows.length === 0],
  );
  useEffect(() => onError(error), [error]);

  const list = shown.current.rows;
  const last = list.findLast((row) => 'cursor' in row);
  const f = fmt.value;
  const goOn = (/** @type {any} */ event) => {
    event.currentTarget.parentElement.querySelector('.pause-feed').focus();
    paused.value = false;
    setReading(false);
    setTurn(turn + 1);
  };
  const live = heard.value;
  return html`<div class=${live ? '' : 'feed-old'}>
    <div class="feed-head">
      <button
        type="button"
        class="pause-feed"
        aria-pressed=${paused.value}
        onClick=${() => {
          paused.value = !paused.value;
        }}
      >
        ${paused.value ? 'Resume' : 'Pause'} <kbd aria-hidden="true">p</kbd>
      </button>
      <span>
        <strong>
          ${live && rate !== undefined ? html`<data value=${rate}>${f.number(rate)}</data>` : '–'}
        </strong> <span class="dim">matching events/s</span>
      </span>
      ${
        skipped
          ? html`<span class="warn">
              <data value=${skipped}>${f.count(skipped, 'event')}</data> skipped
            </span>`
          : null
      }
      <span class="grow"></span>
      ${
        held && fresh > 0
          ? html`<button type="button" class="primary" onClick=${goOn}>
              Show <data value=${fresh}>${f.number(fresh)}</data> new
            </button>`
          : html`<span class="dim small">
              ${held ? 'held' : `newest ${f.count(MOST, 'event')}`}
            </span>`
      }
    </div>
    <p class="sr-only" aria-live="polite">${said}</p>
    ${error && !error.errors.length ? html`<${Failure} problem=${new Problem(error)} />` : null}
    ${
      list.length === 0
        ? error
          ? null
          : html`<${Nothing} />`
        : html`<${Rows}
            key=${`${key} ${turn}`}
            class="feed"
            log=${true}
            label="events as they come"
            count=${list.length}
            height=${LINE}
            row=${(/** @type {number} */ at, /** @type {object} */ tie) => line(list[at], tie)}
            onHold=${setReading}
          />`
    }
    ${
      last && 'cursor' in last
        ? html`<p class="feed-foot">
            <a
              class="button"
              href=${href('events', [], { ...queryOf(filter), back: 1, before: last.cursor })}
            >
              Older events
            </a>
          </p>`
        : null
    }
  </div>`;
}
