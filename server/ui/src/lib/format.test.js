import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  areCents,
  formats,
  isNumeric,
  millis,
  plural,
  windowMillis,
  windowTitle,
} from './format.js';

const english = formats('en-GB', 'Europe/Berlin');
const german = formats('de-DE', 'UTC');
const plain = (text) => text.replaceAll(/\s/g, ' ');

test('numbers follow the locale, and keep digits that matter', () => {
  assert.equal(english.number(128412), '128,412');
  assert.equal(german.number(60591.22), '60.591,22');
  assert.equal(english.number(1.455464), '1.45546');
  assert.equal(english.number(-1234.56789), '-1,234.57');
  assert.equal(english.number(1234567.891), '1,234,567.89');
  assert.equal(english.number(123456789), '123,456,789');
  assert.equal(english.exact(1.455464), '1.455464');
  assert.equal(english.number(0.000000123), '0.000000123');
  assert.equal(english.number('12345678901234567890.5'), '12,345,678,901,234,567,890.5');
  assert.equal(formats('en-US', 'UTC').short(1234567), '1.2M');
});

test('what is no number and no time is a dash', () => {
  for (const value of [null, undefined, NaN, Infinity, 'x', {}, '']) {
    assert.equal(english.number(value), '–');
    assert.equal(english.withUnit(value, 'EUR'), '–');
    assert.equal(english.dateTime(value), '–');
  }
});

test('units decide how a number is written', () => {
  assert.equal(english.withUnit(0.0513, 'share'), '5.1%');
  assert.equal(english.withUnit(12.5, '%'), '12.5%');
  assert.equal(english.withUnit(60591.2, 'EUR'), '60,591.20');
  assert.equal(english.withUnit(60591.2, 'JPY'), '60,591');
  assert.equal(english.withUnit(60591.2345, 'KWD'), '60,591.235');
  assert.equal(english.withUnit(60591.2, 'RPM'), '60,591.2');
  assert.equal(english.withUnit(1.5, '/s'), '1.5');
  assert.equal(english.withUnit(98765, 'bytes'), '96.5 KiB');
  assert.equal(english.withUnit(4_320, 's'), '1 h 12 min');
});

test('durations have two units at most', () => {
  assert.equal(english.duration(0), '0 s');
  assert.equal(english.duration(0.0124), '12.4 µs');
  assert.equal(english.duration(41_000), '41 s');
  assert.equal(english.duration(61_000), '1 min 1 s');
  assert.equal(english.duration(90_061_000), '1 d 1 h');
  assert.equal(english.duration(-120_000), '−2 min');
});

test('times are those of the zone', () => {
  assert.equal(english.clock('2026-01-01T00:00:00Z'), '01:00:00');
  assert.equal(german.clock('2026-01-01T00:00:00Z'), '00:00:00');
  assert.match(english.dateTime(Date.parse('2026-06-30T23:30:00Z')), /1 Jul(y)? 2026.*01:30:00/);
});

test('relative times round to one unit', () => {
  const now = Date.parse('2026-01-01T12:00:00Z');
  assert.match(plain(english.ago(now - 5_400, now)), /^5 ?s(ec)? ago$/);
  assert.match(plain(english.ago(now - 3 * 3_600_000, now)), /^3 ?hr? ago$/);
  assert.match(plain(english.ago(now + 86_400_000 * 3, now)), /^in 3 ?d/);
  assert.equal(english.ago(now + 1000, now), 'just now', 'clocks differ a little');
});

test('reads what the server writes', () => {
  assert.equal(isNumeric('-12.50'), true);
  assert.equal(isNumeric('1e5'), false);
  assert.equal(millis('2026-01-01T00:00:00.000Z'), 1767225600000);
  assert.equal(millis('yesterday'), undefined);
  assert.equal(windowMillis('2h'), 7_200_000);
  assert.equal(windowMillis('all'), undefined);
  assert.equal(windowTitle('1h'), 'last hour');
  assert.equal(windowTitle('7d'), 'last 7 days');
  assert.equal(windowTitle(undefined), 'all time');
});

test('a word has the form that suits its number, in English whatever the locale', () => {
  assert.deepEqual(
    [0, 1, 2, 1.5, 21].map((count) => plural(count, 'event')),
    ['events', 'event', 'events', 'events', 'events'],
  );
  assert.equal(english.count(1, 'address', 'addresses'), '1 address');
  assert.equal(formats('fr-FR', 'UTC').count(0, 'address', 'addresses'), '0 addresses');
  assert.equal(plain(german.count(4096, 'record')), '4.096 records');
});

test('rates have three digits, columns of money equal ones', () => {
  assert.equal(english.withUnit(3.69146, '/s'), '3.69');
  assert.equal(english.withUnit(1234.56, '/s'), '1,235');
  assert.ok(areCents([104860.8, 5751, '12.25', null]));
  assert.ok(!areCents([1, 2, null, 'x']));
  assert.ok(!areCents([0.333333, 1.5]));
  assert.ok(!areCents([1e-9, 1.5]));
  assert.equal(english.cents(5751), '5,751.00');
  assert.equal(english.cents('x'), '–');
});
