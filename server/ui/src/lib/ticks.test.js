import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timeTicks } from './ticks.js';
import { localOf } from './zone.js';

const at = (text) => Date.parse(text);
const walls = (from, to, most, zone) =>
  timeTicks(at(from), at(to), most, zone).map(({ time }) => localOf(time, zone).slice(0, 16));

test('minutes are round on the clock, and midnight is a day', () => {
  const ticks = timeTicks(at('2026-01-01T23:47:10Z'), at('2026-01-02T00:13:00Z'), 6, 'UTC');
  assert.deepEqual(
    ticks.map(({ time, as }) => [new Date(time).toISOString().slice(11, 16), as]),
    [
      ['23:50', 'minutes'],
      ['23:55', 'minutes'],
      ['00:00', 'shortDay'],
      ['00:05', 'minutes'],
      ['00:10', 'minutes'],
    ],
  );
  assert.deepEqual(
    timeTicks(500, 4500, 4, 'UTC').map(({ time, as }) => [time, as]),
    [
      [1000, 'clock'],
      [2000, 'clock'],
      [3000, 'clock'],
      [4000, 'clock'],
    ],
  );
});

test('hours are round in zones that are beside the hour', () => {
  assert.deepEqual(walls('2026-07-01T00:00:00Z', '2026-07-01T12:00:00Z', 4, 'Asia/Kathmandu'), [
    '2026-07-01T06:00',
    '2026-07-01T09:00',
    '2026-07-01T12:00',
    '2026-07-01T15:00',
  ]);
});

test('an hour that comes twice has two ticks, one that is skipped none', () => {
  const hours = (from, to, most) =>
    walls(from, to, most, 'Europe/Berlin')
      .map((wall) => wall.slice(11, 13))
      .join(' ');
  assert.equal(hours('2026-10-24T23:00:00Z', '2026-10-25T03:00:00Z', 5), '01 02 02 03 04');
  assert.equal(hours('2026-03-28T23:00:00Z', '2026-03-29T03:00:00Z', 5), '00 01 03 04 05');
  assert.equal(hours('2026-03-28T23:00:00Z', '2026-03-29T07:00:00Z', 4), '00 04 06 08');
  assert.equal(hours('2026-03-28T17:00:00Z', '2026-03-30T04:00:00Z', 6), '18 00 06 12 18 00 06');
  assert.equal(hours('2026-10-24T16:00:00Z', '2026-10-26T05:00:00Z', 8), '18 00 06 12 18 00 06');
});

test('days are midnights of the zone, over a change of the clock too', () => {
  assert.deepEqual(walls('2026-03-27T12:00:00Z', '2026-03-31T12:00:00Z', 5, 'Europe/Berlin'), [
    '2026-03-28T00:00',
    '2026-03-29T00:00',
    '2026-03-30T00:00',
    '2026-03-31T00:00',
  ]);
  // In Cairo the clocks go from 00:00 to 01:00.
  assert.deepEqual(walls('2026-04-22T12:00:00Z', '2026-04-25T12:00:00Z', 4, 'Africa/Cairo'), [
    '2026-04-23T00:00',
    '2026-04-24T01:00',
    '2026-04-25T00:00',
  ]);
});

test('weeks begin on Monday, months on their first day', () => {
  const weeks = timeTicks(
    at('2026-01-01T00:00:00Z'),
    at('2026-02-10T00:00:00Z'),
    6,
    'America/New_York',
  );
  assert.deepEqual(
    weeks.map(({ time }) => new Date(time).getUTCDay()),
    [1, 1, 1, 1, 1, 1],
  );
  assert.equal(weeks.length, 6);
  const months = timeTicks(at('2025-10-15T00:00:00Z'), at('2026-03-15T00:00:00Z'), 6, 'Asia/Tokyo');
  assert.deepEqual(
    months.map(({ time, as }) => [localOf(time, 'Asia/Tokyo').slice(0, 10), as]),
    [
      ['2025-11-01', 'month'],
      ['2025-12-01', 'month'],
      ['2026-01-01', 'year'],
      ['2026-02-01', 'month'],
      ['2026-03-01', 'month'],
    ],
  );
  assert.deepEqual(walls('1990-05-01T00:00:00Z', '2026-01-01T00:00:00Z', 5, 'UTC'), [
    '2000-01-01T00:00',
    '2010-01-01T00:00',
    '2020-01-01T00:00',
  ]);
});

test('ticks rise, are never many, and nothing throws', () => {
  for (const [from, to] of [
    [0, 0],
    [0, 1],
    [-8.64e15, 8.64e15],
    [7e15, 8e15 - 1],
    [NaN, 1],
    [-6e13, -5e13],
    [at('2026-10-25T00:00:00Z'), at('2026-10-26T00:00:00Z')],
  ]) {
    for (const zone of ['UTC', 'Australia/Lord_Howe', 'America/St_Johns']) {
      for (const most of [0, 1, 7, 40]) {
        const ticks = timeTicks(from, to, most, zone);
        assert.ok(ticks.length <= 100, `${ticks.length}`);
        ticks.forEach(({ time }, n) =>
          assert.ok(
            time >= from && time <= to && (n === 0 || time > ticks[n - 1].time),
            `${from} ${to} ${zone}`,
          ),
        );
      }
    }
  }
});
