import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, keysOf, read, write } from './pointer.js';

test('reads own members only, and nothing where a pointer leads nowhere', () => {
  const value = { a: [{ 'x/y': 1, 'm~n': 2 }] };
  assert.equal(read(value, '/a/0/x~1y'), 1);
  assert.equal(read(value, '/a/0/m~0n'), 2);
  assert.equal(read(value, ''), value);
  assert.equal(read(value, '/a/7/x'), undefined);
  assert.equal(read(value, '/constructor'), undefined);
});

test('what is escaped is read back', () => {
  const keys = ['a/b', '~', '~1', '', 'é'];
  assert.deepEqual(keysOf(below('', ...keys)), keys);
});

test('writes a copy, makes what is missing and takes away', () => {
  const value = { a: { b: 1 }, l: [1, 2, 3] };
  assert.deepEqual(write(value, '/a/c/d', 2), { a: { b: 1, c: { d: 2 } }, l: [1, 2, 3] });
  assert.deepEqual(write(value, '/l/1', undefined), { a: { b: 1 }, l: [1, 3] });
  assert.deepEqual(write(value, '/a/b', undefined), { a: {}, l: [1, 2, 3] });
  assert.deepEqual(value, { a: { b: 1 }, l: [1, 2, 3] });
});

test('a member named __proto__ is a member', () => {
  const made = write({}, '/__proto__/polluted', true);
  assert.equal({}.polluted, undefined);
  assert.equal(Object.hasOwn(made, '__proto__'), true);
});
