// The series of rows: where each row of a table has points of its own, a chart with a line for each
// of the first rows.
//
// A line shows the first number of the points. Rows may begin at different times; where one has no
// point there is a gap.

import { isNumeric } from './format.js';
import { nameBeside } from './picture.js';
import { below, read } from './pointer.js';

/** @import {Picture} from '../types' */
/** @import {Chart} from './series.js' */

/** Lines that can be told apart. */
const MOST = 8;

/** @param {any} point */
const isPoint = (point) =>
  point !== null && typeof point === 'object' && Number.isFinite(Date.parse(point.start));

/**
 * @param {Picture} picture of a table @param {any} result
 * @returns {{ title: string, chart: Chart } | undefined}
 */
export function groupChart(picture, result) {
  const rows = picture.kind === 'table' ? read(result, picture.at) : undefined;
  if (!Array.isArray(rows)) return undefined;
  const shown = rows
    .slice(0, MOST)
    .map((row, at) => ({
      row,
      at,
      points: Array.isArray(row?.series) ? row.series.filter(isPoint) : [],
    }))
    .filter(({ points }) => points.length > 0);
  const [first] = shown.flatMap(({ points }) => points);
  const key = Object.keys(first ?? {}).find((one) => isNumeric(first[one]));
  if (!key) return undefined;
  const points = shown.flatMap((one) => one.points);
  const times = [...new Set(points.map((point) => Date.parse(point.start)))].sort((a, b) => a - b);
  const place = new Map(times.map((time, at) => [time, at]));
  const cut = new Set(
    points.filter((point) => point.partial === true).map((point) => Date.parse(point.start)),
  );
  const column =
    picture.columns?.find((one) => one.kind === 'id') ??
    picture.columns?.find((one) => one.kind === 'text');
  const lines = shown.map(({ row, at }) => {
    const id = String(column ? row[column.key] : at + 1);
    /** @type {(number | null)[]} */
    const values = times.map(() => null);
    /** @type {(string | undefined)[]} */
    const pointers = times.map(() => undefined);
    row.series.forEach((/** @type {any} */ point, /** @type {number} */ index) => {
      const to = isPoint(point) ? place.get(Date.parse(point.start)) : undefined;
      if (to === undefined || !isNumeric(point[key])) return;
      values[to] = Number(point[key]);
      pointers[to] = below(picture.at, at, 'series', index, key);
    });
    const sum = values.reduce((/** @type {number} */ all, value) => all + (value ?? 0), 0);
    const name = column && nameBeside(row, column);
    return { key: id, title: name ? `${name} ${id}` : id, unit: '', values, at: pointers, sum };
  });
  const part = rows.length > lines.length ? `, the first ${lines.length} of ${rows.length}` : '';
  return {
    title: `${picture.title}: ${key}${part}`,
    chart: { times, partial: times.map((time) => cut.has(time)), lines, stacked: false },
  };
}
