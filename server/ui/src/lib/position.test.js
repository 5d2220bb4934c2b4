import assert from 'node:assert/strict';
import { test } from 'node:test';
import { furthest } from './position.js';

test('each partition is at the further one of two positions', () => {
  assert.equal(furthest('0:7,1:9', '0:8,1:3'), '0:8,1:9');
  assert.equal(furthest('0:7', '1:0'), '0:7,1:0');
  assert.equal(furthest('0:9', '0:10'), '0:10');
  assert.equal(furthest('', '0:5'), '0:5');
  assert.equal(furthest('0:5', ''), '0:5');
  assert.equal(furthest('0:5', undefined), '0:5');
  assert.equal(furthest('0:5', 'nonsense,1:x'), '0:5');
});
