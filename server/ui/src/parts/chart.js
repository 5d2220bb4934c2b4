// A chart over time with everything around it: its legend, what it comes to, its table, and the
// choice of a range.
//
// The legend says the numbers of the point that is read, else of the newest step with events.
// Screen readers have a summary, and hear what the arrows read. The table is made when it is asked
// for, so that one that nobody sees costs nothing.

import { useContext, useId, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { asOf, summary, usualPoint } from '../lib/series.js';
import { AsOf } from './card.js';
import { Icon } from './icons.js';
import { colour, seen } from './colour.js';
import { useCanvas } from './canvas.js';
import { shape } from './shape.js';
import { Table } from './table.js';
import { Num } from './values.js';

/** @import {Chart as Data, Line} from '../lib/series.js' */

/**
 * Why a step is not whole, behind its time.
 * @param {Data} chart @param {number} at
 */
const partly = ({ times, partial }, at) =>
  partial[at] ? (at === times.length - 1 ? ', running' : ', not whole') : '';

/**
 * @param {object} props
 * @param {Data} props.chart see `chartOf`
 * @param {string} props.label what it shows
 * @param {number} [props.height] pixels
 * @param {(from: number, to: number) => void} [props.onRange] Unix milliseconds, `to` exclusive
 */
export function Chart({ chart: given, label, height = 220, onRange }) {
  const counted = useContext(AsOf);
  const chart = useMemo(() => asOf(given, Date.parse(counted ?? '')), [given, counted]);
  const { lines, times, partial } = chart;
  const [hidden, setHidden] = useState(() => new Set());
  const [asTable, setAsTable] = useState(false);
  const id = useId();
  useMemo(() => seen(lines.map((line) => line.key).filter(Boolean)), [chart]);
  const ref = useRef(/** @type {HTMLDivElement | null} */ (null));
  const shown = lines.filter((line) => !hidden.has(line.key));
  // Without points there is nothing to draw: the table says so.
  const plain = asTable || times.length === 0;
  const usual = useMemo(() => usualPoint(chart), [chart]);
  const {
    reading: { at, byKey },
    events,
  } = useCanvas(ref, { chart, lines: shown, usual, height, onRange, off: plain });
  const read = at !== undefined && at < times.length;
  const point = read ? at : usual;
  const last = times.length - 1;
  const when =
    times.length === 0 ? '' : fmt.value.shortDateTime(times[point]) + partly(chart, point);

  /** @param {Line} line */
  const toggle = (line) =>
    setHidden((before) => {
      const next = new Set(before);
      if (!next.delete(line.key)) next.add(line.key);
      return next;
    });
  return html`<div class="chart">
    <div class="legend">
      ${lines.map(
        (line) => html`<button
          type="button"
          key=${line.key}
          aria-pressed=${shown.includes(line) ? 'true' : 'false'}
          onClick=${() => toggle(line)}
        >
          <svg
            class="swatch"
            viewBox="0 0 10 10"
            style=${{ fill: colour(line.key) }}
            aria-hidden="true"
          >
            <path d=${shape(line.key)} />
          </svg>
          <bdi class="cut">${line.title}</bdi>
          <${Num}
            class="at"
            value=${line.values[point] ?? undefined}
            at=${line.at[point]}
            unit=${line.unit}
          />
        </button>`,
      )}
      <span class="when">
        ${
          partial.includes(true) && !plain
            ? html`<span>
                ${chart.stacked ? 'hatched' : 'dashed'}: ${
                  partial[last] ? 'not over yet' : 'cut by the window'
                } ·
              </span>`
            : null
        }
        ${when}
        <button
          type="button"
          class="no-print"
          aria-pressed=${asTable ? 'true' : 'false'}
          onClick=${() => setAsTable(!asTable)}
          aria-label="Table"
          title="Show as table"
        >
          <${Icon} name="table" size=${14} />
        </button>
      </span>
    </div>
    ${
      plain
        ? html`<${Numbers} chart=${chart} label=${label} most=${100} />`
        : html`
            <div
              class="chart-canvas"
              ref=${ref}
              role="figure"
              aria-label=${label}
              aria-describedby=${id}
              style=${{ height: `${height}px` }}
              tabindex="0"
              ...${events}
            >
              <canvas aria-hidden="true"></canvas>
              <p class="sr-only" id=${id}>
                <${Summary} chart=${chart} /> Arrows read its points${
                  onRange ? '; Shift and arrows choose a range, Enter takes it' : ''
                }.
              </p>
            </div>
            <output class="sr-only">
              ${
                read && byKey
                  ? `${when}: ${shown
                      .map(
                        (line) =>
                          `${line.title} ${fmt.value.withUnit(line.values[point], line.unit)}`,
                      )
                      .join(', ')}`
                  : ''
              }
            </output>
          `
    }
  </div>`;
}

/** What a chart comes to, in words. @param {{ chart: Data }} props */
function Summary({ chart }) {
  const { count, shortDateTime, withUnit } = fmt.value;
  return useMemo(() => {
    const { times, partial, lines } = chart;
    const parts = lines.map(({ title, unit, values }) => {
      const all = summary(values, partial);
      return all
        ? `${title}: least ${withUnit(all.least, unit)}, most ${withUnit(all.most, unit)}, ` +
            `latest ${withUnit(all.latest, unit)}` +
            `${all.of < times.length ? `, in ${count(all.of, 'point')}` : ''}.`
        : `${title}: nothing.`;
    });
    return (
      `${count(times.length, 'point')}, ${shortDateTime(times[0])} to ` +
      `${shortDateTime(times[times.length - 1])}. ${parts.join(' ')}`
    );
  }, [chart, withUnit]);
}

/**
 * The numbers of a chart as a table, newest first.
 * @param {{ chart: Data, label: string, most?: number }} props
 */
export function Numbers({ chart, label, most }) {
  const rows = useMemo(() => chart.times.map((time, at) => ({ time, at })).reverse(), [chart]);
  const columns = useMemo(
    () => [
      {
        key: 'start',
        title: 'from',
        head: true,
        tight: true,
        sort: (/** @type {any} */ row) => row.time,
        cell: (/** @type {any} */ row) =>
          html`
            <time datetime=${new Date(row.time).toISOString()}>
              ${fmt.value.shortDateTime(row.time)}
            </time>
            ${partly(chart, row.at)}
          `,
      },
      ...chart.lines.map((line) => ({
        key: line.key || 'others',
        title: html`<bdi>${line.title}</bdi>`,
        end: true,
        sort: (/** @type {any} */ row) => line.values[row.at],
        cell: (/** @type {any} */ row) =>
          line.values[row.at] === null
            ? '–'
            : html`<${Num} value=${line.values[row.at]} at=${line.at[row.at]} unit=${line.unit} />`,
      })),
    ],
    [chart],
  );
  return html`<${Table}
    caption=${label}
    columns=${columns}
    rows=${rows}
    rowKey=${(/** @type {any} */ row) => row.time}
    most=${most}
    empty="no points in this window"
  />`;
}
