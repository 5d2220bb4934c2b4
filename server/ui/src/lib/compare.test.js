import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from './compare.js';

test('equal answers have no differences', () => {
  assert.deepEqual(compare({ a: [1, { b: null }] }, { a: [1, { b: null }] }), {
    differences: [],
    more: false,
  });
});

test('says what changed, came and went, and where', () => {
  const { differences } = compare({ a: 1, b: [1, 2], 'x/y': 1 }, { a: 2, b: [1], c: {} });
  assert.deepEqual(differences, [
    { pointer: '/a', kind: 'changed', before: 1, after: 2 },
    { pointer: '/b/1', kind: 'removed', before: 2 },
    { pointer: '/x~1y', kind: 'removed', before: 1 },
    { pointer: '/c', kind: 'added', after: {} },
  ]);
});

test('rows with an id are compared by it, not by their place', () => {
  const row = (product_id, n) => ({ product_id, n });
  const { differences } = compare(
    { rows: [row(1, 5), row(2, 4)] },
    { rows: [row(2, 4), row(1, 6), row(3, 1)] },
  );
  assert.deepEqual(differences, [
    { pointer: '/rows/product_id=1/n', kind: 'changed', before: 5, after: 6 },
    { pointer: '/rows/product_id=3', kind: 'added', after: row(3, 1) },
  ]);
});

test('another kind of value is one difference', () => {
  assert.deepEqual(
    compare({ a: [] }, { a: {} }).differences.map((one) => one.kind),
    ['changed'],
  );
  assert.deepEqual(compare(null, { a: 1 }).differences, [
    { pointer: '', kind: 'changed', before: null, after: { a: 1 } },
  ]);
});

test('the list is bounded', () => {
  const many = (n) => Array.from({ length: 3000 }, () => n);
  const { differences, more } = compare(many(1), many(2));
  assert.equal(differences.length, 1000);
  assert.equal(more, true);
});
