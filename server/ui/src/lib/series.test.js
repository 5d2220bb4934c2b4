import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asOf, change, chartOf, recent, stack, summary, usualPoint, valuesOf } from './series.js';

const of = (key) => ({ key, title: key, unit: '' });
const picture = { kind: 'series', at: '/series', lines: [of('total')], maps: [of('by_type')] };
const start = (minute) => new Date(minute * 60_000).toISOString();

test('a map of numbers is stacked, with zeros where a key is absent', () => {
  const chart = chartOf(picture, [
    { start: start(0), total: 3, by_type: { b: 1, a: 2 } },
    { start: start(1), total: 0, by_type: {}, partial: true },
  ]);
  assert.equal(chart.stacked, true);
  assert.deepEqual(chart.times, [0, 60_000]);
  assert.deepEqual(chart.partial, [false, true]);
  assert.deepEqual(
    chart.lines.map((line) => [line.key, line.values]),
    [
      ['a', [2, null]],
      ['b', [1, null]],
    ],
  );
  assert.deepEqual(chart.lines[1].at, ['/series/0/by_type/b', undefined]);
  assert.deepEqual(stack(chart.lines), [
    [2, 0],
    [3, 0],
  ]);
  assert.deepEqual(
    stack(chart.lines, (line) => line.key === 'b'),
    [
      [null, null],
      [1, 0],
    ],
  );
});

test('without a map the numbers are lines with gaps, in the order of time', () => {
  const chart = chartOf({ ...picture, maps: [] }, [
    { start: start(2), total: '12.5' },
    { start: start(1) },
    { start: 'never', total: 1 },
  ]);
  assert.equal(chart.stacked, false);
  assert.deepEqual(chart.lines[0].values, [null, 12.5]);
  assert.deepEqual(chart.lines[0].at, [undefined, '/series/0/total']);
});

test('many keys are the largest, and the others summed up', () => {
  const by_type = Object.fromEntries(
    Array.from({ length: 20 }, (_, n) => [`k${String(n).padStart(2, '0')}`, n + 1]),
  );
  const { lines } = chartOf(picture, [{ start: start(0), by_type }]);
  assert.equal(lines.length, 8);
  assert.equal(lines.at(-1).title, '13 others');
  assert.equal(
    lines.reduce((sum, line) => sum + line.values[0], 0),
    210,
  );
});

test('one that is left is another, not others', () => {
  const by_type = Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`k${n}`, n + 1]));
  assert.equal(chartOf(picture, [{ start: start(0), by_type }]).lines.at(-1).title, '2 others');
  const { k8: _, ...eight } = by_type;
  assert.equal(chartOf(picture, [{ start: start(0), by_type: eight }]).lines.at(-1).title, 'k7');
});

test('of many keys with few at a point only what there is is read', () => {
  let read = 0;
  const counting = {
    get: (of, key) => {
      read += 1;
      return of[key];
    },
    ownKeys: (of) => Reflect.ownKeys(of),
  };
  const points = Array.from({ length: 1000 }, (_, n) => ({
    start: start(n),
    by_type: new Proxy({ [`k${n}`]: 1, [`k${(n + 1) % 1000}`]: 2.5, all: 4 }, counting),
  }));
  const { lines } = chartOf(picture, points);
  assert.equal(lines.length, 8);
  assert.deepEqual(
    lines.find((one) => one.key === 'all').values,
    points.map(() => 4),
  );
  assert.equal(
    lines.reduce((sum, one) => sum + one.sum, 0),
    7500,
  );
  // Each of 3,000 entries for its sum and for its place, and seven lines at each point.
  assert.ok(read <= 2 * 3000 + 7 * 1000, `${read}`);
});

test('lately is of whole steps since events are counted, and compares whole times only', () => {
  const minute = 60_000;
  const points = Array.from({ length: 8 }, (_, n) => ({ start: start(n), n: n < 4 ? 1 : 3 }));
  const how = { steps: 4, step: minute, asOf: 8 * minute };
  const both = recent(points, 'n', how);
  assert.deepEqual(both.spark, [3, 3, 3, 3]);
  assert.deepEqual(both.change, { before: 4, after: 12, ratio: 2 });
  // The last minute goes on, the first is cut.
  const cut = [{ ...points[0], partial: true }, ...points.slice(1)];
  assert.deepEqual(recent(cut, 'n', { ...how, asOf: 8 * minute - 1 }).spark, [1, 3, 3, 3]);
  assert.deepEqual(recent(points, 'n', { ...how, from: 0 }), both);
  assert.deepEqual(recent(points, 'n', { ...how, from: 3 * minute }), {
    spark: [3, 3, 3, 3],
    change: undefined,
  });
  assert.deepEqual(recent(points, 'n', { ...how, from: 6 * minute }).spark, [3, 3]);
});

test('the change is of the second half to the first', () => {
  assert.deepEqual(change([1, 1, 2, 1]), { before: 2, after: 3, ratio: 0.5 });
  assert.deepEqual(change([9, 1, 1, 1, 1]), { before: 2, after: 2, ratio: 0 });
  assert.equal(change([0, 0, 1, 1]), undefined);
  assert.equal(change([-10, -5]), undefined);
  assert.deepEqual(change([10, -5]), { before: 10, after: -5, ratio: -1.5 });
  assert.equal(change([1]), undefined);
  assert.deepEqual(valuesOf([{ n: 1 }, {}, null], 'n'), [1, null, null]);
});

test('a line is summed up by its whole steps', () => {
  assert.deepEqual(summary([1, 5, null, 3, 2], [true, false, false, false, true]), {
    least: 3,
    most: 5,
    latest: 3,
    of: 4,
  });
  assert.deepEqual(summary([null, 4], [true, true]), { least: 4, most: 4, latest: 4, of: 1 });
  assert.equal(summary([null, null], [false, false]), undefined);
});

test('a step that is not over is partial', () => {
  const chart = { times: [0, 10, 20], partial: [true, false, false], lines: [], stacked: false };
  assert.deepEqual(asOf(chart, 29).partial, [true, false, true]);
  for (const time of [30, NaN]) assert.equal(asOf(chart, time), chart);
  const months = [Date.parse('2026-02-01'), Date.parse('2026-03-01')];
  const monthly = { ...chart, times: months, partial: [false, false] };
  assert.deepEqual(asOf(monthly, Date.parse('2026-03-30')).partial, [false, true]);
  const one = { ...chart, times: [0], partial: [false] };
  assert.equal(asOf(one, 5), one);
});

test('a legend says the newest whole step with events, else the newest with some', () => {
  const of = (/** @type {(number | null)[][]} */ values, /** @type {boolean[]} */ partial) =>
    usualPoint({
      times: partial.map((_, at) => at),
      partial,
      lines: values.map((row) => ({ key: '', title: '', unit: '', values: row, at: [], sum: 0 })),
      stacked: true,
    });
  assert.equal(of([[3, 2, 1]], [true, false, true]), 1);
  assert.equal(
    of(
      [
        [3, 2, 0],
        [null, null, null],
      ],
      [false, false, false],
    ),
    1,
  );
  assert.equal(of([[null, null, 7]], [true, false, true]), 2, 'all that is not over is empty');
  assert.equal(of([[null, null]], [false, true]), 0, 'nothing at all');
  assert.equal(of([], []), -1);
});
