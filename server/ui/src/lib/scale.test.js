import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extremes, nearest, niceStep, rangeOf, scaleOf, stepAfter } from './scale.js';

test('steps are those that people count in', () => {
  for (const [least, step] of [
    [1, 1],
    [1.1, 2],
    [2.2, 5],
    [7, 10],
    [0.03, 0.05],
    [0.3, 0.5],
    [12_345, 20_000],
    [1e-9, 1e-9],
  ]) {
    assert.ok(Math.abs(niceStep(least) / step - 1) < 1e-9, `${least}: ${niceStep(least)}`);
  }
  assert.equal(niceStep(700, 'bytes'), 1024);
  assert.equal(niceStep(0.2, 'bytes'), 1);
  assert.equal(niceStep(40, 's'), 60);
  assert.equal(niceStep(0.04, 's'), 0.05);
  assert.equal(niceStep(3e5 + 1, 'ms'), 6e5);
  assert.equal(niceStep(300, 'ms'), 500);
  assert.equal(niceStep(1.5 * 86_400, 's'), 2 * 86_400);
});

test('a scale holds zero and all numbers, and ends at ticks', () => {
  assert.deepEqual(scaleOf(3, 97, 5), { low: 0, high: 100, ticks: [0, 20, 40, 60, 80, 100] });
  assert.deepEqual(scaleOf(-3, 5, 4), { low: -4, high: 6, ticks: [-4, -2, 0, 2, 4, 6] });
  assert.deepEqual(scaleOf(-9, -1, 2), { low: -10, high: 0, ticks: [-10, -5, 0] });
  for (const [least, most] of [
    [0, 1e-300],
    [-1e300, 1e300],
    [0, 0.3],
    [1e15, 1e15 + 1],
    [0, 5e-324],
    [-1.7e308, 0],
  ]) {
    const { low, high, ticks } = scaleOf(least, most, 4);
    assert.ok(
      low <= Math.max(-1e300, Math.min(0, least)) &&
        high >= most * (1 - 1e-9) &&
        ticks.length >= 2 &&
        ticks.length <= 7,
      `${least} ${most}: ${ticks}`,
    );
  }
});

test('without anything above zero there is a scale, and integers have whole steps', () => {
  assert.deepEqual(scaleOf(0, 0, 4, '', true).ticks, [0, 1]);
  assert.deepEqual(scaleOf(0, 1, 4, '', true).ticks, [0, 1]);
  assert.equal(scaleOf(0, 1, 4).ticks.length, 3);
});

test('the nearest point is found, at the ends too', () => {
  const times = [0, 10, 20, 40];
  for (const [time, at] of [
    [-5, 0],
    [4, 0],
    [6, 1],
    [29, 2],
    [31, 3],
    [99, 3],
  ])
    assert.equal(nearest(times, time), at, `${time}`);
  assert.equal(nearest([7], 0), 0);
  assert.equal(nearest([], 0), -1);
});

test('a range is of whole steps, in either direction', () => {
  const times = [0, 10, 20, 40];
  assert.deepEqual(rangeOf(times, 0, 1), [0, 20]);
  assert.deepEqual(rangeOf(times, 3, 2), [20, 60]);
  assert.deepEqual(rangeOf(times, 1, 1), [10, 20]);
  assert.deepEqual(rangeOf([5], 0, 0), [5, 60_005]);
});

test('the last step is as long as the one before, months as the calendar has them', () => {
  const end = (...starts) => new Date(stepAfter(starts.map(Date.parse))).toISOString();
  assert.equal(stepAfter([0, 10, 30]), 50);
  assert.equal(end('2026-01-01', '2026-02-01', '2026-03-01'), '2026-04-01T00:00:00.000Z');
  assert.equal(end('2026-01-01', '2026-02-01'), '2026-03-01T00:00:00.000Z');
  // In a zone ahead of UTC, in one behind it, and over the turn of the year.
  assert.equal(end('2026-10-31T23:00Z', '2026-11-30T23:00Z'), '2026-12-31T23:00:00.000Z');
  assert.equal(end('2026-01-01T05:00Z', '2026-02-01T05:00Z'), '2026-03-01T05:00:00.000Z');
  assert.equal(end('2025-10-01', '2026-01-01'), '2026-04-01T00:00:00.000Z');
  assert.equal(end('2023-01-01', '2024-01-01'), '2025-01-01T00:00:00.000Z');
  // Thirty days are no month.
  assert.equal(end('2026-01-10', '2026-02-09'), '2026-03-11T00:00:00.000Z');
  const months = ['2026-02-01', '2026-03-01'].map(Date.parse);
  assert.deepEqual(rangeOf(months, 1, 1), [months[1], Date.parse('2026-04-01')]);
});

test('the least and the largest of however many numbers', () => {
  const many = Array.from({ length: 500_000 }, (_, at) => at - 7);
  assert.deepEqual(extremes(many), [-7, 499_992]);
  assert.deepEqual(extremes([3, 4], 0), [0, 4]);
  assert.deepEqual(extremes([], 0), [0, 0]);
});
