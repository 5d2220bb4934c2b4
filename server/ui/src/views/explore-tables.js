// A result as tables only: single values in one, then each part in its own, every row of it.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { groupChart } from '../lib/groups.js';
import { fitted } from '../lib/picture.js';
import { below, read } from '../lib/pointer.js';
import { chartOf } from '../lib/series.js';
import { Numbers } from '../parts/chart.js';
import { RowsPicture } from '../parts/picture.js';
import { Table } from '../parts/table.js';
import { isLeaf, Tree } from '../parts/tree.js';
import { Num, Unit } from '../parts/values.js';

/** @import {Picture} from '../types' */

/** Rows of a table at first. */
const MOST = 100;

/**
 * @typedef {{ key: string, help?: string, value: any, at: string, unit: string,
 *   isNumber: boolean }} Single
 */

/** @type {import('../parts/table.js').TableColumn<Single>[]} */
const COLUMNS = [
  {
    key: 'key',
    title: 'name',
    head: true,
    class: 'text',
    sort: (row) => row.key,
    cell: (row) => html`<bdi class="cut" title=${row.help || row.key}>${row.key}</bdi>`,
  },
  {
    key: 'value',
    end: true,
    sort: (row) => row.value,
    cell: (row) =>
      row.isNumber
        ? html`
            <${Num} value=${row.value} at=${row.at} unit=${row.unit} />
            <${Unit} unit=${row.unit} />
          `
        : html`<${Tree} value=${row.value} at=${row.at} />`,
  },
];

/** @param {{ caption: string, rows: Single[] }} props */
function Singles({ caption, rows }) {
  return html`<${Table}
    caption=${caption}
    columns=${COLUMNS}
    rows=${rows}
    rowKey=${(/** @type {Single} */ row) => row.at}
    most=${MOST}
    empty="nothing counted"
  />`;
}

/** @param {{ picture: Picture, result: any }} props */
function Points({ picture, result }) {
  const points = read(result, picture.at);
  const chart = useMemo(() => chartOf(picture, points), [picture, points, fmt.value]);
  return html`<${Numbers} chart=${chart} label=${picture.title} most=${MOST} />`;
}

/**
 * The points of the first rows, where these have some.
 * @param {{ picture: Picture, result: any }} props
 */
function Steps({ picture, result }) {
  const found = useMemo(() => groupChart(picture, result), [picture, result, fmt.value]);
  return found
    ? html`
        <h3>${found.title}</h3>
        <${Numbers} chart=${found.chart} label=${found.title} most=${MOST} />
      `
    : null;
}

/** @param {{ picture: Picture, result: any }} props */
function Part({ picture, result }) {
  const { kind, at, unit, title } = picture;
  const value = read(result, at);
  if (kind === 'table')
    return html`
      <${RowsPicture} picture=${picture} result=${result} most=${MOST} />
      <${Steps} picture=${picture} result=${result} />
    `;
  if (kind === 'series') return html`<${Points} picture=${picture} result=${result} />`;
  if (kind === 'bars')
    return html`<${Singles}
      caption=${title}
      rows=${Object.entries(value).map(([key, one]) => ({
        key,
        value: one,
        at: below(at, key),
        unit,
        isNumber: true,
      }))}
    />`;
  return html`<${Tree} value=${value} at=${at} />`;
}

/** @param {{ pictures: Picture[], result: any }} props */
export function Tables({ pictures, result }) {
  const here = pictures.flatMap((picture) => fitted(picture, result) ?? []);
  const single = (/** @type {Picture} */ { at }) => isLeaf(read(result, at));
  const rows = here.filter(single).map(({ kind, title, help, at, unit }) => {
    const value = read(result, at);
    const isNumber = typeof value === 'number' || (kind === 'figure' && value !== null);
    return { key: title, help, value, at, unit, isNumber };
  });
  return html`<div class="stack whole">
    ${rows.length > 0 ? html`<${Singles} caption="single values" rows=${rows} />` : null}
    ${here
      .filter((picture) => !single(picture))
      .map(
        (picture) =>
          html`<section key=${picture.at}>
            <h3 title=${picture.help}>${picture.title}</h3>
            <${Part} picture=${picture} result=${result} />
          </section>`,
      )}
  </div>`;
}
