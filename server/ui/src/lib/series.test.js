import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asOf, change, chartOf, stack, summary, valuesOf } from './series.js';

const of = (key) => ({ key, title: key, unit: '' });
const picture = { kind: 'series', at: '/series', lines: [of('total')], maps: [of('by_type')] };
const start = (minute) => new Date(minute * 60_000).toISOString();

test('a map of numbers is stacked, with zeros where a key is absent', () => {
  const chart = chartOf(picture, [{ start: start(0), total: 3, by_type: { b: 1, a: 2 } }, { start: start(1), total: 0, by_type: {}, partial: true }]);
  assert.equal(chart.stacked, true);
  assert.deepEqual(chart.times, [0, 60_000]);
  assert.deepEqual(chart.partial, [false, true]);
  assert.deepEqual(chart.lines.map((line) => [line.key, line.values]), [['a', [2, null]], ['b', [1, null]]]);
  assert.deepEqual(chart.lines[1].at, ['/series/0/by_type/b', undefined]);
  assert.deepEqual(stack(chart.lines), [[2, 0], [3, 0]]);
  assert.deepEqual(stack(chart.lines, (line) => line.key === 'b'), [[null, null], [1, 0]]);
});

test('without a map the numbers are lines with gaps, in the order of time', () => {
  const chart = chartOf({ ...picture, maps: [] }, [{ start: start(2), total: '12.5' }, { start: start(1) }, { start: 'never', total: 1 }]);
  assert.equal(chart.stacked, false);
  assert.deepEqual(chart.lines[0].values, [null, 12.5]);
  assert.deepEqual(chart.lines[0].at, [undefined, '/series/0/total']);
});

test('many keys are the largest, and the others summed up', () => {
  const by_type = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`k${String(n).padStart(2, '0')}`, n + 1]));
  const { lines } = chartOf(picture, [{ start: start(0), by_type }]);
  assert.equal(lines.length, 8);
  assert.equal(lines.at(-1).title, '13 others');
  assert.equal(lines.reduce((sum, line) => sum + line.values[0], 0), 210);
});

test('the change is of the second half to the first', () => {
  assert.deepEqual(change([1, 1, 2, 1]), { before: 2, after: 3, ratio: 0.5 });
  assert.deepEqual(change([9, 1, 1, 1, 1]), { before: 2, after: 2, ratio: 0 });
  assert.equal(change([0, 0, 1, 1]), undefined);
  assert.equal(change([1]), undefined);
  assert.deepEqual(valuesOf([{ n: 1 }, {}, null], 'n'), [1, null, null]);
});

test('a line is summed up by its whole steps', () => {
  assert.deepEqual(summary([1, 5, null, 3, 2], [true, false, false, false, true]), { least: 3, most: 5, latest: 3 });
  assert.deepEqual(summary([null, 4], [true, true]), { least: 4, most: 4, latest: 4 });
  assert.equal(summary([null, null], [false, false]), undefined);
});

test('a step that is not over is partial', () => {
  const chart = { times: [0, 10, 20], partial: [true, false, false], lines: [], stacked: false };
  assert.deepEqual(asOf(chart, 29).partial, [true, false, true]);
  for (const time of [30, NaN]) assert.equal(asOf(chart, time), chart);
  const one = { ...chart, times: [0], partial: [false] };
  assert.equal(asOf(one, 5), one);
});
