import assert from 'node:assert/strict';
import { test } from 'node:test';
import { order } from './order.js';

const sorted = (values, way) => [...values].sort((a, b) => order(a, b, way));

test('decimals that are texts are ordered as numbers', () => {
  assert.deepEqual(sorted(['1.5', '1.25', '-5', '-10', 3]), ['-10', '-5', '1.25', '1.5', 3]);
  assert.deepEqual(sorted(['9', '12345678901234567890.5', 10], -1), [
    '12345678901234567890.5',
    10,
    '9',
  ]);
});

test('texts are ordered as people read them, and what is empty is last either way', () => {
  assert.deepEqual(sorted(['item 10', 'item 9', '1.10.0', '1.9.0']), [
    '1.9.0',
    '1.10.0',
    'item 9',
    'item 10',
  ]);
  assert.deepEqual(sorted([null, 2, '', 1], 1), [1, 2, null, '']);
  assert.deepEqual(sorted([null, 2, '', 1], -1), [2, 1, null, '']);
});
