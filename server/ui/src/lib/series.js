// Points of a series as columns for charts, and what is read off them.
//
// A point that lacks a number is a gap in a line and nothing in a stack. Lines beyond `MOST` are
// summed up in the last one, so that a chart stays readable whatever the data.

import { isNumeric } from './format.js';
import { below } from './pointer.js';

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
const sumOf = (values) => values.reduce((/** @type {number} */ sum, value) => sum + (value ?? 0), 0);

/**
 * The chart of a picture: a map of numbers stacked by its keys, if there is one, else its numbers as
 * lines.
 * @param {Picture} picture @param {any[]} points
 * @returns {Chart}
 */
export function chartOf(picture, points) {
  const rows = points
    .map((point, at) => ({ point, at, time: Date.parse(point?.start) }))
    .filter((row) => Number.isFinite(row.time))
    .sort((a, b) => a.time - b.time);
  const [map] = picture.maps ?? [];
  const keys = map ? keysOf(rows, map.key) : [];
  const lines = map && keys.length > 0
    ? keys.map((key) => line(rows, key, key, map.unit, (point) => point[map.key]?.[key], (at) => below(picture.at, at, map.key, key)))
    : (picture.lines ?? []).map(({ key, title, unit }) => line(rows, key, title, unit, (point) => point[key], (at) => below(picture.at, at, key)));
  return {
    times: rows.map((row) => row.time),
    partial: rows.map((row) => row.point.partial === true),
    lines: keys.length > 0 ? gathered(lines, rows.length) : lines,
    stacked: keys.length > 0,
  };
}

/** @param {{point: any}[]} rows @param {string} map */
function keysOf(rows, map) {
  const keys = new Set();
  for (const { point } of rows) for (const key of Object.keys(point[map] ?? {})) keys.add(key);
  return [...keys].sort();
}

/**
 * @param {{point: any, at: number}[]} rows @param {string} key @param {string} title @param {string} unit
 * @param {(point: any) => unknown} pick @param {(at: number) => string} pointer @returns {Line}
 */
function line(rows, key, title, unit, pick, pointer) {
  const values = rows.map(({ point }) => numberOf(pick(point)));
  const at = rows.map((row, index) => (values[index] === null ? undefined : pointer(row.at)));
  return { key, title, unit, values, at, sum: sumOf(values) };
}

/** The largest lines, and the sum of the others. @param {Line[]} lines @param {number} points @returns {Line[]} */
function gathered(lines, points) {
  if (lines.length <= MOST) return lines;
  const kept = new Set([...lines].sort((a, b) => b.sum - a.sum).slice(0, MOST - 1));
  const others = lines.filter((one) => !kept.has(one));
  const values = Array.from({ length: points }, (_, at) => sumOf(others.map((one) => one.values[at])));
  const rest = { key: '', title: `${others.length} others`, unit: others[0].unit, values, at: values.map(() => undefined), sum: sumOf(values) };
  return [...lines.filter((one) => kept.has(one)), rest];
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
  if (last < 1 || partial[last] || !(times[last] + times[last] - times[last - 1] > time)) return chart;
  return { ...chart, partial: partial.with(last, true) };
}

/**
 * What a line comes to: of its whole steps, or of all where there is no whole one. `undefined` without
 * numbers.
 * @param {(number | null)[]} values @param {boolean[]} partial
 */
export function summary(values, partial) {
  const whole = values.filter((value, at) => value !== null && !partial[at]);
  const used = /** @type {number[]} */ (whole.length > 0 ? whole : values.filter((value) => value !== null));
  if (used.length === 0) return undefined;
  const [least, most] = [used.reduce((a, b) => Math.min(a, b)), used.reduce((a, b) => Math.max(a, b))];
  return { least, most, latest: used[used.length - 1] };
}

/** Numbers of a key, oldest first. @param {any[]} points @param {string} key */
export function valuesOf(points, key) {
  return points.map((point) => numberOf(point?.[key]));
}

/**
 * The change from the first half of whole steps to the second; `undefined` where there is nothing to
 * compare with. A step that the window cuts at its start is left out with its partner.
 * @param {(number | null)[]} values
 */
export function change(values) {
  const half = Math.floor(values.length / 2);
  if (half === 0) return undefined;
  const late = values.slice(-half);
  const early = values.slice(-2 * half, -half);
  const [before, after] = [sumOf(early), sumOf(late)];
  return before === 0 ? undefined : { before, after, ratio: after / before - 1 };
}
