import assert from 'node:assert/strict';
import { test } from 'node:test';
import { meter } from './rate.js';

test('the rate is that of the last five seconds', () => {
  const rate = meter();
  assert.equal(rate(0, 0), undefined);
  assert.equal(rate(999, 10), undefined);
  assert.equal(rate(1000, 10), 10);
  for (let at = 1250; at <= 10_000; at += 250) rate(at, at / 100);
  assert.equal(rate(10_000, 100), 10);
  for (let at = 10_250; at <= 15_000; at += 250) rate(at, 100);
  assert.equal(rate(15_250, 100), 0);
});

test('hours in which nobody looked are not in it', () => {
  const rate = meter();
  for (let at = 0; at <= 5000; at += 250) rate(at, at / 10);
  const back = 8 * 3_600_000;
  assert.equal(rate(back, 1_000_000), undefined);
  assert.equal(rate(back + 1000, 1_000_050), 50);
  assert.equal(rate(back + 4000, 1_000_200), 50);
});
