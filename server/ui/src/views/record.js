// One record of the log: as it came, as it was mapped, what it is, and what is before and after it.

import { useEffect, useState } from 'preact/hooks';
import { html } from '../html.js';
import { nameOf } from '../data/names.js';
import { status } from '../data/status.js';
import { useLoaded } from '../data/loaded.js';
import { useKeys } from '../keys.js';
import { explain } from '../lib/reasons.js';
import { Copy } from '../parts/actions.js';
import { Card, View } from '../parts/card.js';
import { Facts } from '../parts/facts.js';
import { Payload } from '../parts/payload.js';
import { Failure, State, Tag } from '../parts/state.js';
import { Tree } from '../parts/tree.js';
import { Id, Num, Time } from '../parts/values.js';
import { go, href, route } from '../router.js';
import { EventRow, placeOf } from './event-row.js';

/** @import {IdKind} from '../types' */
/** @import {Tone} from '../parts/state.js' */

/** Events shown after and before it. */
const AROUND = 3;

/** What a verdict means. @type {Record<string, { tone: Tone, word: string, text: string }>} */
const VERDICTS = {
  event: { tone: 'good', word: 'event', text: 'It counts.' },
  duplicate: {
    tone: 'warn',
    word: 'duplicate',
    text: 'It repeats a recent event and is not counted again.',
  },
  refused: { tone: 'bad', word: 'refused', text: '' },
};

/** @param {{ kind: IdKind, id: any }} props */
function Named({ kind, id }) {
  const [name, setName] = useState(/** @type {string | undefined} */ (undefined));
  useEffect(() => {
    let over = false;
    setName(undefined);
    nameOf(kind, id).then((found) => over || setName(found));
    return () => {
      over = true;
    };
  }, [kind, id]);
  return html`<${Id} id=${id} name=${name} kind=${kind} />`;
}

/** @param {IdKind} kind @param {any} id */
const named = (kind, id) =>
  id === undefined ? undefined : html`<${Named} kind=${kind} id=${id} />`;

/**
 * Events of its partition around it: what is refused is not among them.
 * @param {{ partition: number, offset: number }} props
 */
function Around({ partition, offset }) {
  const partitions = status.value?.partitions.map((one) => one.partition).join(',');
  const before = partitions
    ?.split(',')
    .map((one) => `${one}:${Number(one) === partition ? offset + 1 + AROUND : 0}`)
    .join(',');
  const { data, problem } = /** @type {import('../data/loaded.js').Loaded<any>} */ (
    useLoaded(
      before ? `api/events?${new URLSearchParams({ before, limit: String(2 * AROUND + 1) })}` : '',
    )
  );
  const rows = data?.items ?? [];
  return html`<${Card}
    title="Nearby events"
    class="span"
    note="in its partition, newest first"
    tools=${html`<a href=${href('events', [], {
      back: 1,
      before: before?.replace(`${partition}:${offset + 1 + AROUND}`, `${partition}:${offset + 1}`),
    })}>
      Browse back from here
    </a>`}
  >
    ${problem ? html`<${Failure} problem=${problem} />` : null}
    ${data && rows.length === 0 ? html`<p class="dim">none</p>` : null}
    <ul class="feed">
      ${rows.map(
        (/** @type {any} */ one) =>
          html`<li key=${one.position}>
            <${EventRow} ...${one} current=${placeOf(one.position)[1] === offset} />
          </li>`,
      )}
    </ul>
  <//>`;
}

/** @param {{ record: any }} props */
function Whole({ record }) {
  const {
    partition,
    offset,
    topic,
    timestamp,
    length,
    origin,
    origin_timestamp: originTime,
    verdict,
  } = record;
  const { tone, word, text } = VERDICTS[verdict.state] ?? {
    tone: '',
    word: verdict.state,
    text: '',
  };
  const { event, reason } = verdict;
  return html`<div class="two">
    <${Card} title="Record" class="span">
      <p class="verdict">
        <${Tag} tone=${tone}>${word}<//>
        ${' '}
        ${
          reason
            ? html`
                <code class="cut" title=${reason}>${reason}</code> ${explain(reason).text}
                ${' '}
                <a href="docs#/events/appendEvents">What makes a record an event</a>
              `
            : text
        }
      </p>
      <${Facts} class="pairs" of=${[
        ['topic', html`<bdi>${topic}</bdi>`],
        ['partition', html`<${Num} value=${partition} at="/partition" />`],
        ['offset', html`<${Num} value=${offset} at="/offset" />`],
        ['written', html`<${Time} value=${timestamp} at="/timestamp" />`],
        ['size', html`<${Num} value=${length} unit="bytes" at="/length" />`],
        ['user', named('user', event?.user_id)],
        ['product', named('product', event?.product_id)],
        [
          'copied from',
          origin && html`<bdi>${origin}</bdi> <${Time} value=${originTime} as="ago" />`,
        ],
      ]} />
    <//>
    <${Card} title="Mapped event" note=${event ? 'as plugins see it' : undefined}>
      ${
        event
          ? html`<${Tree} value=${event} at="/verdict/event" />`
          : html`<p class="dim">
              ${reason ? 'It is not an event.' : 'The event it repeats was mapped.'}
            </p>`
      }
    <//>
    <${Card} title="Raw record"><${Payload} payload=${record} label="record" /><//>
    <${Around} partition=${partition} offset=${offset} />
  </div>`;
}

export function Record() {
  const [partition = '', offset = ''] = route.value.path;
  const sound = /^\d{1,10}$/.test(partition) && /^\d{1,16}$/.test(offset);
  const path = sound ? `api/records/${partition}/${offset}` : '';
  const { data, of, problem } = /** @type {import('../data/loaded.js').Loaded<any>} */ (
    useLoaded(path)
  );
  const held = status.value?.partitions.find((one) => String(one.partition) === partition);
  const at = Number(offset);
  const known = data && of === path;
  /** @param {number} to */
  const inside = (to) => sound && to >= (held?.start ?? 0) && (!held || to < held.end || to <= at);
  /** @param {number} to */
  const step = (to) => inside(to) && go(href('records', [partition, to]), { replace: true });
  useKeys(
    {
      j: { label: 'previous record', run: () => step(at - 1) },
      k: { label: 'next record', run: () => step(at + 1) },
    },
    [partition, offset, held?.start, held?.end],
  );
  /** @param {number} to @param {string} text */
  const link = (to, text) =>
    inside(to)
      ? html`<a class="button" href=${href('records', [partition, to])}>${text}</a>`
      : html`<button type="button" disabled>${text}</button>`;
  const tools = sound
    ? html`
        ${link(at - 1, '← Previous')}
        ${link(at + 1, 'Next →')}
        <${Copy} text=${() => location.href} label="Copy the address">Copy link<//>
      `
    : null;
  return html`<${View}
    title=${sound ? `Record ${partition}/${offset}` : 'Record'}
    json=${path || undefined}
    tools=${tools}
    lead=${html`<a href=${href('events')}>Events</a>`}
  >
    ${
      !sound
        ? html`<${State} kind="nothing" title="Not the address of a record">
            The form is <code>#/records/PARTITION/OFFSET</code>
            ${'. '}
            <a href=${href('events')}>Choose an event</a>
          <//>`
        : problem
          ? html`
              <${Failure}
                problem=${problem}
                title=${problem.code === 'record_not_found' ? 'No such record' : undefined}
              />
              ${
                held
                  ? html`<p class="row">
                      <a class="button" href=${href('records', [partition, held.start])}>
                        First in the log
                      </a>
                      <a
                        class="button"
                        href=${href('records', [partition, Math.max(held.start, held.end - 1)])}
                      >
                        Last in the log
                      </a>
                    </p>`
                  : null
              }
            `
          : known
            ? html`<${Whole} record=${data} />`
            : html`<${State} kind="connecting" title="Reading the log" />`
    }
  <//>`;
}
