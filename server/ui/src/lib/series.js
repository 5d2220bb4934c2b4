// Points of a series as columns for charts, and what is read off them.
//
// A point that lacks a number is a gap in a line and nothing in a stack. Lines beyond `MOST` are
// summed up in the last one, so that a chart stays readable whatever the data.

import { isNumeric, plural } from './format.js';
import { below } from './pointer.js';
import { stepAfter } from './scale.js';

/** @import {Picture} from '../types' */

/** Most lines of one chart. */
const MOST = 8;

/**
 * @typedef {object} Line
 * @property {string} key
 * @property {string} title
 * @property {string} unit
 * @property {(number | null)[]} values
 * @property {(string | undefined)[]} at pointers of the values in the result
 * @property {number} sum
 */
/**
 * @typedef {object} Chart
 * @property {number[]} times Unix milliseconds, rising
 * @property {boolean[]} partial which steps are not whole: the window cuts them
 * @property {Line[]} lines
 * @property {boolean} stacked whether the lines add up to something
 */

/** @param {unknown} value */
const numberOf = (value) => (isNumeric(value) ? Number(value) : null);

/** @param {(number | null)[]} values */
const sumOf = (values) =>
  values.reduce((/** @type {number} */ sum, value) => sum + (value ?? 0), 0);

/**
 * The chart of a picture: a map of numbers stacked by its keys, if there is one, else its numbers
 * as lines.
 * @param {Picture} picture @param {any[]} points
 * @returns {Chart}
 */
export function chartOf(picture, points) {
  const rows = points
    .map((point, at) => ({ point, at, time: Date.parse(point?.start) }))
    .filter((row) => Number.isFinite(row.time))
    .sort((a, b) => a.time - b.time);
  const [map] = picture.maps ?? [];
  const sums = map ? sumsOf(rows, map.key) : new Map();
  const stacked = sums.size > 0;
  return {
    times: rows.map((row) => row.time),
    partial: rows.map((row) => row.point.partial === true),
    lines: stacked
      ? layers(picture, rows, sums)
      : (picture.lines ?? []).map(({ key, title, unit }) =>
          line(
            rows,
            key,
            title,
            unit,
            (point) => point[key],
            (at) => below(picture.at, at, key),
          ),
        ),
    stacked,
  };
}

/**
 * What each key of a map comes to. Goes through what there is once: there may be many more keys
 * than lines, and few of them at a point.
 * @param {{ point: any }[]} rows @param {string} map
 * @returns {Map<string, number>} by key, in the order of keys
 */
function sumsOf(rows, map) {
  /** @type {Map<string, number>} */
  const sums = new Map();
  for (const { point } of rows)
    for (const [key, value] of Object.entries(point[map] ?? {}))
      sums.set(key, (sums.get(key) ?? 0) + (numberOf(value) ?? 0));
  return new Map([...sums].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * The largest keys of a map as lines, and the sum of the others.
 * @param {Picture} picture
 * @param {{ point: any, at: number }[]} rows
 * @param {Map<string, number>} sums
 * @returns {Line[]}
 */
function layers(picture, rows, sums) {
  const [map] = /** @type {NonNullable<Picture['maps']>} */ (picture.maps);
  const most = sums.size > MOST ? MOST - 1 : MOST;
  const kept = new Set(
    [...sums]
      .sort(([, a], [, b]) => b - a)
      .slice(0, most)
      .map(([key]) => key),
  );
  const lines = [...sums.keys()]
    .filter((key) => kept.has(key))
    .map((key) =>
      line(
        rows,
        key,
        key,
        map.unit,
        (point) => point[map.key]?.[key],
        (at) => below(picture.at, at, map.key, key),
      ),
    );
  const others = sums.size - kept.size;
  if (others === 0) return lines;
  const values = rows.map(({ point }) =>
    sumOf(
      Object.entries(point[map.key] ?? {}).map(([key, value]) =>
        kept.has(key) ? null : numberOf(value),
      ),
    ),
  );
  return [
    ...lines,
    {
      key: '',
      title: `${others} ${plural(others, 'other')}`,
      unit: map.unit,
      values,
      at: values.map(() => undefined),
      sum: sumOf(values),
    },
  ];
}

/**
 * @param {{point: any, at: number}[]} rows
 * @param {string} key
 * @param {string} title
 * @param {string} unit
 * @param {(point: any) => unknown} pick
 * @param {(at: number) => string} pointer
 * @returns {Line}
 */
function line(rows, key, title, unit, pick, pointer) {
  const values = rows.map(({ point }) => numberOf(pick(point)));
  const at = rows.map((row, index) => (values[index] === null ? undefined : pointer(row.at)));
  return { key, title, unit, values, at, sum: sumOf(values) };
}

/**
 * Values on top of each other: each line with those before it, for areas drawn from the last to the
 * first.
 * @param {Line[]} lines @param {(line: Line) => boolean} [shown]
 * @returns {(number | null)[][]}
 */
export function stack(lines, shown = () => true) {
  /** @type {number[]} */
  const below = [];
  return lines.map((one) => {
    if (!shown(one)) return one.values.map(() => null);
    return one.values.map((value, at) => {
      below[at] = (below[at] ?? 0) + (value ?? 0);
      return below[at];
    });
  });
}

/**
 * The chart as it was at a time: the last step is partial too where it was not over then.
 * @param {Chart} chart @param {number} time @returns {Chart}
 */
export function asOf(chart, time) {
  const { times, partial } = chart;
  const last = times.length - 1;
  if (last < 1 || partial[last] || !(stepAfter(times) > time)) return chart;
  return { ...chart, partial: partial.with(last, true) };
}

/**
 * The point whose numbers are said while none is read: the newest whole step with events, else the
 * newest with some, else the last whole one.
 * @param {Chart} chart
 */
export function usualPoint({ times, partial, lines }) {
  const some = times.map((_, at) => lines.some(({ values }) => values[at]));
  const last = (/** @type {(at: number) => boolean} */ fits) =>
    times.findLastIndex((_, at) => fits(at));
  const found = [
    last((at) => some[at] && !partial[at]),
    last((at) => some[at]),
    last((at) => !partial[at]),
  ].find((at) => at >= 0);
  return found ?? times.length - 1;
}

/**
 * What a line comes to: of its whole steps, or of all where there is no whole one; `of` so many
 * points with a number. `undefined` without numbers.
 * @param {(number | null)[]} values @param {boolean[]} partial
 */
export function summary(values, partial) {
  const whole = values.filter((value, at) => value !== null && !partial[at]);
  const used = /** @type {number[]} */ (
    whole.length > 0 ? whole : values.filter((value) => value !== null)
  );
  if (used.length === 0) return undefined;
  const [least, most] = [
    used.reduce((a, b) => Math.min(a, b)),
    used.reduce((a, b) => Math.max(a, b)),
  ];
  const of = values.filter((value) => value !== null).length;
  return { least, most, latest: used[used.length - 1], of };
}

/** Numbers of a key, oldest first. @param {any[]} points @param {string} key */
export function valuesOf(points, key) {
  return points.map((point) => numberOf(point?.[key]));
}

/**
 * The change from the first half of whole steps to the second; `undefined` where there is nothing
 * to compare with: a part of what is below zero says nothing. A step that the window cuts at its
 * start is left out with its partner.
 * @param {(number | null)[]} values
 */
export function change(values) {
  const half = Math.floor(values.length / 2);
  if (half === 0) return undefined;
  const late = values.slice(-half);
  const early = values.slice(-2 * half, -half);
  const [before, after] = [sumOf(early), sumOf(late)];
  return before > 0 ? { before, after, ratio: after / before - 1 } : undefined;
}

/**
 * What a number did lately, step by step, and its change to the time before. Steps that are not
 * whole are left out, and those before events were counted: then there is nothing to compare with.
 * @param {any[]} points of twice as many steps
 * @param {string} key
 * @param {{ steps: number, step: number, asOf: number,
 *   from?: number }} how `step` and times in milliseconds; `from`: since when events are counted
 */
export function recent(points, key, { steps, step, asOf: now, from = -Infinity }) {
  const whole = points.filter(
    (point) => point?.partial !== true && Date.parse(point?.start) + step <= now,
  );
  const counted = whole.filter((point) => Date.parse(point.start) >= from);
  const values = valuesOf(counted, key);
  return {
    spark: values.slice(-steps),
    change: counted.length === whole.length ? change(values.slice(-2 * steps)) : undefined,
  };
}
