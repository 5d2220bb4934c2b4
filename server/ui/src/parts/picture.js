// Draws a result by its pictures: as a card, which shows what matters most, or whole.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { areCents, isNumeric, titleOf } from '../lib/format.js';
import { cardOf, columnsFor, fitted, isObject, nameBeside, valueIn } from '../lib/picture.js';
import { below, read } from '../lib/pointer.js';
import { extremes } from '../lib/scale.js';
import { chartOf } from '../lib/series.js';
import { Chart } from './chart.js';
import { Facts } from './facts.js';
import { Bars, factsOf, Figure } from './figure.js';
import { Table } from './table.js';
import { isLeaf, Tree } from './tree.js';
import { Foreign, Id, Num, Time, Unit } from './values.js';

/** @import {Column, Picture as OfResult} from '../types' */

/** Members of an object that are told beside each other, at most. */
const FEW = 32;

/**
 * @param {{ picture: OfResult, result: any, height?: number,
 *   onRange?: (from: number, to: number) => void }} props
 */
function SeriesPicture({ picture, result, height, onRange }) {
  const points = read(result, picture.at);
  const chart = useMemo(() => chartOf(picture, points), [picture, points]);
  return html`<${Chart}
    chart=${chart}
    label=${picture.title}
    height=${height}
    onRange=${onRange}
  />`;
}

/**
 * @param {Column} column
 * @param {any} row
 * @param {string} at
 * @param {number} largest of a column that has bars
 * @param {boolean} [cents] whether its numbers have two digits after the point
 */
function cell(column, row, at, largest, cents) {
  const value = valueIn(row, column);
  if (value === undefined || value === null) return html`<span class="dim">–</span>`;
  if (column.kind === 'number') {
    const number = html`
      <${Num} value=${value} at=${at} unit=${column.unit} cents=${cents} />
      <${Unit} unit=${column.unit} />
    `;
    if (!largest) return number;
    const width = `${Math.max(0, Math.min(1, Number(value) / largest)) * 100}%`;
    return html`<span class="in-cell">
      <span class="track" aria-hidden="true"><i style=${{ width }}></i></span>
      <span>${number}</span>
    </span>`;
  }
  if (column.kind === 'id')
    return html`<${Id}
      id=${value}
      name=${nameBeside(row, column)}
      kind=${column.idKind}
      at=${at}
    />`;
  if (column.kind === 'time') return html`<${Time} value=${value} as="ago" at=${at} />`;
  if (column.kind === 'boolean') return value ? 'yes' : 'no';
  if (column.kind === 'text' || typeof value === 'string')
    return html`<${Foreign} text=${value} />`;
  if (isLeaf(value)) return String(value);
  return html`<${Inline} value=${value} at=${at} />`;
}

/**
 * A value inside a row: a map of numbers on one line, else how much there is.
 * @param {{ value: any, at: string }} props
 */
function Inline({ value, at }) {
  const entries = Object.entries(value);
  if (!Array.isArray(value) && entries.length <= 8 && entries.every(([, one]) => isNumeric(one))) {
    return entries.map(
      ([key, one]) =>
        html`<span key=${key} class="small">
          <bdi class="dim">${key}</bdi> <${Num}
            value=${one}
            at=${below(at, key)}
            short
          />  </span>`,
    );
  }
  return html`<${Tree} value=${value} at=${at} open=${0} depth=${1} />`;
}

/**
 * Rows of a result. `compact` leaves out what is no single value.
 * @param {{ picture: OfResult, result: any, compact?: boolean, most?: number }} props
 */
export function RowsPicture({ picture, result, compact = false, most }) {
  const rows = read(result, picture.at);
  const columns = useMemo(() => {
    const all = columnsFor(picture.columns ?? [], rows);
    const own = (/** @type {Column} */ column) =>
      compact ? column.kind !== 'other' : column.key !== 'series';
    const some = all.filter(
      (column) =>
        own(column) &&
        !(
          column.kind === 'text' &&
          /(^|_)name$/.test(column.key) &&
          all.some((one) => one.kind === 'id')
        ),
    );
    const measures = some.filter(
      (column) => column.kind === 'number' && !/^(rank|position|place)$/.test(column.key),
    );
    const kept = compact
      ? some.filter(
          (column) =>
            column.kind !== 'number' || !measures.includes(column) || measures.indexOf(column) < 3,
        )
      : some;
    const [first] = measures;
    const [, largest] = first
      ? extremes(
          rows.map((/** @type {any} */ row) => Number(valueIn(row, first)) || 0),
          0,
        )
      : [0, 0];
    const head =
      kept.find((column) => column.kind === 'id') ?? kept.find((column) => column.kind === 'text');
    const cents = measures.filter((column) =>
      areCents(rows.map((/** @type {any} */ row) => valueIn(row, column))),
    );
    return kept.map((column) => ({
      key: `${column.of ?? ''}/${column.key}`,
      title: column.of === undefined ? column.title : html`<bdi>${column.title}</bdi>`,
      help: column.help,
      end: column.kind === 'number',
      tight: column.kind === 'number' && column !== first,
      head: column === head,
      class: `${column.kind === 'id' || column.kind === 'text' ? 'text' : ''} ${
        compact && measures.includes(column) ? ['', 'extra', 'spare'][measures.indexOf(column)] : ''
      }`,
      sort:
        column.kind === 'other'
          ? undefined
          : (/** @type {any} */ row) =>
              column.kind === 'number'
                ? Number(valueIn(row, column))
                : (nameBeside(row, column) ?? valueIn(row, column)),
      cell: (/** @type {any} */ row, /** @type {number} */ index) =>
        cell(
          column,
          row,
          below(picture.at, index, ...(column.of === undefined ? [] : [column.of]), column.key),
          column === first ? largest : 0,
          cents.includes(column),
        ),
    }));
  }, [picture, rows, compact, fmt.value]);
  const names = useMemo(
    () =>
      columnsFor(picture.columns ?? [], rows).filter(
        (column) => column.kind === 'id' || column.kind === 'text',
      ),
    [picture, rows],
  );
  return html`<${Table}
    caption=${picture.title}
    columns=${columns}
    rows=${rows}
    most=${most}
    empty="none"
    rowKey=${(/** @type {any} */ row, /** @type {number} */ index) =>
      names.length > 0 ? names.map((column) => valueIn(row, column)).join('\n') : index}
  />`;
}

/**
 * A part of a result by its picture.
 * @param {{ picture: OfResult, result: any, compact?: boolean, most?: number, height?: number,
 *   onRange?: (from: number, to: number) => void }} props
 */
function PartPicture({ picture, result, compact = false, most, height, onRange }) {
  const value = read(result, picture.at);
  switch (picture.kind) {
    case 'series':
      return html`<${SeriesPicture}
        picture=${picture}
        result=${result}
        height=${height}
        onRange=${onRange}
      />`;
    case 'bars':
      return html`<${Bars}
        values=${value}
        at=${picture.at}
        unit=${picture.unit}
        label=${picture.title}
        most=${most}
      />`;
    case 'table':
      return html`<${RowsPicture}
        picture=${picture}
        result=${result}
        compact=${compact}
        most=${most}
      />`;
    case 'figure':
      return html`<${Facts} of=${factsOf([picture], () => value)} />`;
    default:
      return html`<${Tree} value=${value} at=${picture.at} />`;
  }
}

/**
 * A result as a card shows it. `recent` are the attributes of the answer that change and spark are
 * from.
 * @param {{ pictures: OfResult[], result: any, rows?: number,
 *   change?: { ratio: number } | undefined, since?: string, spark?: (number | null)[],
 *   recent?: object, height?: number, onRange?: (from: number, to: number) => void }} props
 */
export function CardPicture({
  pictures,
  result,
  rows = 6,
  change,
  since,
  spark,
  recent,
  height = 150,
  onRange,
}) {
  const { figure, small, body, chart, trees } = cardOf(pictures, result);
  return html`
    ${
      figure
        ? html`<${Figure}
            value=${read(result, figure.at)}
            at=${figure.at}
            title=${figure.title}
            unit=${figure.unit}
            help=${figure.help}
            change=${change}
            since=${since}
            spark=${spark}
            recent=${recent}
          />`
        : null
    }
    <${Facts} of=${factsOf(
      small.filter((one) => read(result, one.at) !== null),
      (at) => read(result, at),
    )} />
    ${
      body
        ? html`<div class="metric-body">
            <${PartPicture} picture=${body} result=${result} compact most=${rows} />
          </div>`
        : null
    }
    ${
      chart
        ? html`<div class="metric-body">
            <${PartPicture} picture=${chart} result=${result} height=${height} onRange=${onRange} />
          </div>`
        : null
    }
    ${trees.map(
      (tree) =>
        html`<div class="metric-body" key=${tree.at}>
          <h3 class="dim small">${tree.title}</h3>
          <${Tree} value=${read(result, tree.at)} at=${tree.at} open=${1} />
        </div>`,
    )}
  `;
}

/** @param {any} value @param {string} at */
function drawn(value, at) {
  if (typeof value === 'number') return html`<${Num} value=${value} at=${at} />`;
  return html`<${isLeaf(value) ? Tree : Inline} value=${value} at=${at} />`;
}

/** Numbers by name that fit on a line, or a single value. @param {any} value */
const isShort = (value) =>
  isLeaf(value) ||
  (isObject(value) && Object.keys(value).length <= 8 && Object.values(value).every(isNumeric));

/**
 * What of a result is told as facts: figures, single values, and objects of a few of these.
 * @param {OfResult} picture @param {any} value @returns {import('./facts.js').Fact[]}
 */
function factsIn(picture, value) {
  const { kind, at, title, help } = picture;
  if (kind === 'figure') return factsOf([picture], () => value);
  if (kind !== 'tree' || value === null) return [];
  if (isLeaf(value)) return [[title, drawn(value, at), help]];
  const members = isObject(value) ? Object.entries(value) : [];
  if (members.length > FEW || !members.every(([, one]) => isShort(one))) return [];
  if (picture.columns) {
    const known = picture.columns.filter((column) => (valueIn(value, column) ?? null) !== null);
    return known.map((column) => [
      column.title === title ? title : html`${title} <bdi>${column.title}</bdi>`,
      cell(column, value, below(at, column.key), 0),
      column.help,
    ]);
  }
  return members.map(([key, one]) => [
    html`${title} <bdi>${titleOf(key)}</bdi>`,
    one === null ? '' : drawn(one, below(at, key)),
    help,
  ]);
}

/**
 * A whole result: figures beside each other, then every other part under its title.
 * @param {{ pictures: OfResult[], result: any, height?: number,
 *   onRange?: (from: number, to: number) => void }} props
 */
export function WholePicture({ pictures, result, height = 280, onRange }) {
  const here = pictures
    .map((picture) => fitted(picture, result))
    .filter((picture) => picture !== undefined);
  const value = (/** @type {string} */ at) => read(result, at);
  const facts = here.flatMap((picture) => factsIn(picture, value(picture.at)));
  const others = here.filter(
    (picture) => value(picture.at) !== null && factsIn(picture, value(picture.at)).length === 0,
  );
  others.sort((a, b) => Number(b.kind === 'series') - Number(a.kind === 'series'));
  return html`<div class="stack whole">
    <${Facts} large of=${facts} />
    ${others.map(
      (picture) =>
        html`<section key=${picture.at}>
          <h3 title=${picture.help}>${picture.title}</h3>
          <${PartPicture} picture=${picture} result=${result} height=${height} onRange=${onRange} />
        </section>`,
    )}
  </div>`;
}
