import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entriesOf } from './list.js';

test('a pasted list of integers is its entries', () => {
  assert.deepEqual(entriesOf(' 1, 2\n-3\t4;5 '), ['1', '2', '-3', '4', '5']);
});

test('anything else is one entry, with its spaces and commas', () => {
  for (const text of ['red shoe', 'a,b', '7', '7, x', '1.5, 2.5', '2026-01-01 2026-01-02'])
    assert.deepEqual(entriesOf(text), [text]);
  assert.deepEqual(entriesOf(' red shoe '), ['red shoe']);
  assert.deepEqual(entriesOf(' '), []);
});
