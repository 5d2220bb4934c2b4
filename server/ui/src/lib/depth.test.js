import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEEPEST, isDeep } from './depth.js';

const nested = (levels) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);

test('what is deeper than it may be is found, however deep, and wherever it is', () => {
  for (const value of [null, 7, 'x', [], {}, { a: [1, { b: 2 }] }, nested(DEEPEST)])
    assert.equal(isDeep(value), false);
  assert.equal(isDeep(nested(DEEPEST + 1)), true);
  assert.equal(isDeep({ a: 1, b: { c: nested(DEEPEST - 1) } }), true);
  assert.equal(isDeep(nested(8000)), true);
});
