import assert from 'node:assert/strict';
import { test } from 'node:test';
import { localOf, momentOf } from './zone.js';

test('a moment is a wall clock and back', () => {
  const time = Date.parse('2026-07-01T12:34:56Z');
  for (const [zone, text] of [
    ['UTC', '2026-07-01T12:34:56'],
    ['Europe/Berlin', '2026-07-01T14:34:56'],
    ['Asia/Kathmandu', '2026-07-01T18:19:56'],
    ['America/St_Johns', '2026-07-01T10:04:56'],
  ]) {
    assert.equal(localOf(time, zone), text);
    assert.equal(momentOf(text, zone), time);
  }
});

test('the first and the last times have a wall clock where an input can hold it', () => {
  const first = Date.parse('0001-03-04T05:06:07Z');
  assert.equal(localOf(first, 'UTC'), '0001-03-04T05:06:07');
  assert.equal(momentOf('0001-03-04T05:06:07', 'UTC'), first);
  assert.equal(localOf(Date.parse('9999-12-31T23:59:59Z'), 'UTC'), '9999-12-31T23:59:59');
  for (const time of [8.64e15, -8.64e15, Date.parse('0000-06-01T00:00:00Z')])
    for (const zone of ['UTC', 'Asia/Tokyo', 'America/New_York'])
      assert.equal(localOf(time, zone), '', `${time} ${zone}`);
});

test('an hour that comes twice is its first, one that is skipped lies between', () => {
  assert.equal(momentOf('2026-10-25T02:30', 'Europe/Berlin'), Date.parse('2026-10-25T00:30:00Z'));
  const skipped = momentOf('2026-03-29T02:30', 'Europe/Berlin');
  assert.ok(
    skipped >= Date.parse('2026-03-29T00:30:00Z') && skipped <= Date.parse('2026-03-29T01:30:00Z'),
  );
});

test('what is no wall clock is none', () => {
  for (const text of ['', 'x', '2026-01-01']) assert.equal(momentOf(text, 'UTC'), undefined);
});
