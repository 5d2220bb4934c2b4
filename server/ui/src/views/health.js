// Health: whether questions are answered and what to do if not; what of each partition is counted,
// what is committed; what memory and threads take; who is connected; which limits were hit.
//
// Shows `api/status` as it came, greyed and dated when it is old. Changes nothing.

import { useEffect, useState } from 'preact/hooks';
import { html } from '../html.js';
import { get } from '../data/api.js';
import { fmt } from '../data/settings.js';
import { silent } from '../data/silence.js';
import { statusState } from '../data/status.js';
import { isWritten, plural } from '../lib/format.js';
import { read } from '../lib/pointer.js';
import { Card, View } from '../parts/card.js';
import { Facts } from '../parts/facts.js';
import { Mark, Pending, Tag } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Foreign, Num, Time, Unit } from '../parts/values.js';

/** @import {LimitHit, PartitionStatus, ReadinessLine, Status, ThreadUse} from '../types' */

/** From this part on it is scarce: state stops metrics. */
const SCARCE = 0.85;

/** @param {string} text */
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** @param {{ ok: boolean, needed: boolean, name: string }} props */
function Ok({ ok, needed, name }) {
  return html`<${Mark} mark=${ok ? '' : needed ? 'bad' : 'busy'}>
    ${name}
    <span class="sr-only">: ${ok ? 'ok' : 'failing'}</span>
  <//>`;
}

/** @type {import('../parts/table.js').TableColumn<ReadinessLine>[]} */
const LINES = [
  {
    key: 'ok',
    title: 'check',
    head: true,
    tight: true,
    sort: (line) => Number(line.ok) * 2 - Number(line.needed),
    cell: (line) => html`<${Ok} ...${line} />`,
  },
  {
    key: 'what',
    title: 'details',
    cell: (line) => html`
      <bdi>${line.ok ? capital(line.what ?? 'in order') : line.why}</bdi>
      ${
        line.ok
          ? null
          : html`<div class="dim">
              ${line.remedy}
              ${line.needed ? null : ' (not needed to answer queries)'}
            </div>`
      }
    `,
  },
];

/**
 * @param {string} title
 * @param {string} help
 * @param {keyof PartitionStatus} of
 * @returns {import('../parts/table.js').TableColumn<PartitionStatus>}
 */
const offsets = (title, help, of) => ({
  key: of,
  title,
  help,
  end: true,
  class: of === 'start' || of === 'end' ? 'spare' : '',
  sort: (row) => row[of],
  cell: (row, index) =>
    row[of] === undefined
      ? '–'
      : html`<${Num} value=${row[of]} at=${`/partitions/${index}/${of}`} />`,
});

/** What is in transactions that are not over. */
const OPEN = 'offsets from the first open transaction on: they count once it is over';

/** @param {PartitionStatus} row */
const nextOf = ({ position }) => (position ? Number(position.split(':')[1]) : undefined);

/** @type {import('../parts/table.js').TableColumn<PartitionStatus>[]} */
const PARTITIONS = [
  {
    key: 'partition',
    head: true,
    tight: true,
    sort: (row) => row.partition,
    cell: (row) => row.partition,
  },
  {
    key: 'owner',
    sort: (row) => row.owner,
    cell: (row) =>
      html`
        ${row.owner ? `${row.owner} engine`.replace('other', 'another') : 'unknown yet'}
        ${
          row.stalled
            ? html` <${Tag} tone="bad" title="no records are delivered although the log has more">
                  stalled
                <//>
              `
            : null
        }
      `,
  },
  offsets('lag', 'records not counted yet', 'lag'),
  offsets('in transactions', OPEN, 'open'),
  {
    key: 'position',
    help: 'the next offset to read',
    class: 'spare',
    end: true,
    sort: nextOf,
    cell: (row, index) =>
      row.position
        ? html`<data value=${row.position} data-at=${`/partitions/${index}/position`}>
            ${fmt.value.number(nextOf(row))}
          </data>`
        : '–',
  },
  offsets('end', 'the offset after the last record', 'end'),
  offsets('start', 'the first offset in the log', 'start'),
];

/** @type {import('../parts/table.js').TableColumn<ThreadUse>[]} */
const THREADS = [
  {
    key: 'name',
    head: true,
    class: 'text',
    sort: (row) => row.name,
    cell: (row) => html`<${Foreign} text=${row.name} />`,
  },
  {
    key: 'count',
    title: 'threads',
    end: true,
    sort: (row) => row.count,
    cell: (row) => fmt.value.number(row.count),
  },
  {
    key: 'cores',
    title: 'CPU',
    help: 'since the last reading',
    end: true,
    sort: (row) => row.cores,
    cell: (row) => (row.cores === undefined ? '–' : `${fmt.value.share(row.cores)} of a core`),
  },
];

/**
 * What is told of the counting: name, pointer, help, unit.
 * @type {[string, string, string?, string?][]}
 */
const COUNTING = [
  ['events/s', '/rate/events_per_s', 'over the last few seconds'],
  ['lag', '/lag/records', 'records in the log that are not counted yet', 'record'],
  ['in transactions', '/lag/open', OPEN, 'offset'],
  ['counted since start', '/commits/processed', '', 'record'],
  [
    'committed',
    '/commits/committed',
    'records beyond the last commit are counted again after a crash',
    'record',
  ],
  ['since last commit', '/commits/age_s', '', 's'],
];

/**
 * What has a limit: name, pointers of how much there is and may be, help.
 * @typedef {[string, string, string, string?]} Bounded
 */
/** @type {Bounded[]} */
const MEMORY = [
  [
    'state',
    '/memory/state/used',
    '/memory/state/limit',
    'held by metrics; near the limit, the largest metrics are stopped until there is room',
  ],
  ['answers', '/memory/answers/used', '/memory/answers/limit', 'answers being sent'],
  ['sockets', '/memory/sockets/used', '/memory/sockets/limit', 'buffers of WebSockets and streams'],
];
/** @type {Bounded[]} */
const CONNECTED = [
  ['connections', '/connections/open', '/connections/limit', 'including this page'],
  ['WebSockets', '/sockets/websockets', '/sockets/limit', 'together with streams'],
  ['streams', '/sockets/streams', '/sockets/limit', 'of server-sent events'],
  ['held questions', '/sockets/held', '/sockets/held_limit', 'long polls waiting for a change'],
];

/**
 * A number of the status; with the word for what it counts, where its unit is one.
 * @param {Status} status @param {string} at @param {string} [unit]
 */
const number = (status, at, unit = '') => {
  const value = read(status, at);
  return html`
    <${Num} value=${value} at=${at} unit=${unit} />
    ${unit && !isWritten(unit) ? html`<${Unit} unit=${plural(value, unit)} />` : null}
  `;
};

/**
 * So much of what there may be.
 * @param {{ status: Status, of: Bounded[], label: string, unit?: string }} props
 */
function Meters({ status, of, label, unit }) {
  return html`<ul class="bars meters" aria-label=${label}>
    ${of
      .filter(([, at]) => read(status, at) !== undefined)
      .map(([title, at, most, help]) => {
        const part = (read(status, at) || 0) / (read(status, most) || Infinity);
        const full = part >= SCARCE;
        return html`<li key=${title} title=${help}>
          <span class="key">${title}</span>
          <span class="track" aria-hidden="true">
            <i style=${{
              width: `${Math.min(100, part * 100)}%`,
              background: full ? 'var(--bad)' : undefined,
            }}></i>
          </span>
          <span class="amount">
            ${number(status, at, unit)} <span class="dim">of ${number(status, most, unit)}</span>
          </span>
          <span class=${`part ${full ? 'bad' : ''}`}>${fmt.value.share(part)}</span>
        </li>`;
      })}
  </ul>`;
}

/**
 * Limits that were hit, and what the server says that they mean.
 * @param {{ hit: LimitHit[] }} props
 */
function Limits({ hit }) {
  const [meanings, setMeanings] = useState(
    /** @type {Record<string, { means: string, remedy: string }>} */ ({}),
  );
  useEffect(() => {
    if (hit.length === 0) return;
    get('problems')
      .then(({ problems }) =>
        setMeanings(Object.fromEntries(problems.map((/** @type {any} */ one) => [one.code, one]))),
      )
      .catch(() => setMeanings({}));
  }, [hit.length]);
  return html`<${Table}
    caption="Limits that were hit"
    rows=${hit}
    rowKey=${(/** @type {LimitHit} */ one) => one.code}
    sorted=${{ key: 'count', down: true }}
    stacks
    empty="No limit was hit."
    columns=${[
      {
        key: 'code',
        title: 'limit',
        head: true,
        sort: (/** @type {LimitHit} */ one) => one.code,
        cell: (/** @type {LimitHit} */ one) =>
          html`<a href=${`problems/${one.code}`}>
            ${one.code.split('_').map((word, at) => (at ? [html`<wbr />`, `_${word}`] : word))}
          </a>`,
      },
      {
        key: 'count',
        end: true,
        tight: true,
        sort: (/** @type {LimitHit} */ one) => one.count,
        cell: (/** @type {LimitHit} */ one, /** @type {number} */ index) =>
          html`<${Num} value=${one.count} at=${`/limits_hit/${index}/count`} />`,
      },
      {
        key: 'means',
        title: 'meaning',
        cell: (/** @type {LimitHit} */ one) =>
          html`${meanings[one.code]?.means} <span class="dim">${meanings[one.code]?.remedy}</span>`,
      },
    ]}
  />`;
}

export function Health() {
  const { data, at, problem } = statusState.value;
  if (!data)
    return html`<${View} title="Health" json="api/status">
      <${Pending} of=${{ problem }} centre />
    <//>`;
  const stale = problem !== undefined || silent.value !== undefined;
  const wrong = data.readiness.filter((line) => !line.ok).length;
  const lead = html`
    ${data.ready ? 'ready' : 'not ready'}
    ${
      wrong
        ? `, ${fmt.value.number(wrong)} of ` +
          `${fmt.value.number(data.readiness.length)} checks failing`
        : ''
    }
    ${' · Tally '}
    ${data.version}
    ${', '}
    ${data.uptime_s === undefined ? '' : `up ${fmt.value.duration(data.uptime_s * 1000)}`}
    ${stale ? html` · <b class="warn">as of <${Time} value=${at} as="clock" /></b>` : null}
  `;
  const card = (
    /** @type {string} */ title,
    /** @type {any} */ body,
    /** @type {any} */ note = '',
  ) => html`<${Card} title=${title} stale=${stale} note=${note}>${body}<//>`;
  const { threads, log, store, connections, memory } = data;
  const shares = memory.state.limit + memory.answers.limit + memory.sockets.limit;
  const rest = memory.limit - shares;
  return html`<${View} title="Health" json="api/status" lead=${lead}>
    <div class="two wide-first health" data-source="api/status" data-as-of=${data.as_of}>
      <div class="stack">
        ${card(
          'Counting',
          html`<${Facts}
            large
            of=${COUNTING.map(([title, at, help, unit]) => [
              title,
              read(data, at) === undefined ? '' : number(data, at, unit),
              help,
            ])}
          />`,
          log.kind === undefined
            ? ''
            : html`
                log: ${
                  log.kind === 'kafka' ? html`Kafka, <${Foreign} text=${log.name} />` : 'embedded'
                } · store: ${store.kind}
              `,
        )}
        ${card(
          'Readiness',
          html`<${Table}
            caption="Readiness checks"
            columns=${LINES}
            rows=${data.readiness}
            rowKey=${(/** @type {ReadinessLine} */ line) => line.name}
            sorted=${{ key: 'ok' }}
          />`,
        )}
        ${card(
          'Partitions',
          html`<${Table}
            caption="Partitions of the log"
            columns=${PARTITIONS}
            stacks
            rows=${data.partitions}
            rowKey=${(/** @type {PartitionStatus} */ row) => row.partition}
            empty="No partition yet."
          />`,
          `${fmt.value.number(data.partitions.length)} in all`,
        )}
        ${card('Limits hit', html`<${Limits} hit=${data.limits_hit} />`, 'since start')}
      </div>
      <div class="stack">
        ${card(
          'Memory',
          html`
            <${Meters} status=${data} of=${MEMORY} label="memory by shares" unit="bytes" />
            ${
              rest > 0
                ? html`<p class="card-foot">
                    The other ${fmt.value.bytes(rest)} are left for everything else.
                  </p>`
                : null
            }
          `,
          data.memory.limit === undefined
            ? ''
            : html`budget ${number(data, '/memory/limit', 'bytes')}`,
        )}
        ${card(
          'Connections',
          html`
            <${Meters} status=${data} of=${CONNECTED} label="connections" />
            ${
              connections.local === undefined
                ? null
                : html`<p class="card-foot">
                    ${number(data, '/connections/local', 'connection')} from this machine${
                      connections.addresses
                        ? html`, the others from ${number(
                            data,
                            '/connections/addresses',
                          )} ${plural(connections.addresses, 'address', 'addresses')}`
                        : ', no others'
                    }
                  </p>`
            }
          `,
        )}
        ${card(
          'Threads',
          html`<${Table}
            caption="Threads by name"
            columns=${THREADS}
            rows=${threads}
            rowKey=${(/** @type {ThreadUse} */ row) => row.name}
            most=${8}
            empty="This system does not report them."
          />`,
          threads.length > 0
            ? `${fmt.value.number(threads.reduce((sum, row) => sum + row.count, 0))} in all`
            : '',
        )}
      </div>
    </div>
  <//>`;
}
