import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLocal, paramsOf } from './address.js';

test('an object of JSON is params, anything else is none', () => {
  assert.deepEqual(paramsOf('{"window":"1h","a":[1]}'), { window: '1h', a: [1] });
  for (const text of [
    undefined,
    '',
    '{',
    '[]',
    '7',
    'null',
    '"x"',
    `{"a":"${'x'.repeat(70_000)}"}`,
    `{"a":${'['.repeat(8000)}${']'.repeat(8000)}}`,
    `{"a":${'['.repeat(64)}${']'.repeat(64)}}`,
  ])
    assert.equal(paramsOf(text), undefined, text?.slice(0, 9));
});

test('a member with a dangerous name stays a member', () => {
  assert.deepEqual(Object.keys(paramsOf('{"__proto__":{"a":1}}')), ['__proto__']);
  assert.equal(paramsOf('{"__proto__":{"a":1}}').a, undefined);
});

test('names that lead nowhere from another machine', () => {
  for (const host of ['localhost', 'a.localhost', '127.0.0.1', '[::1]', '0.0.0.0'])
    assert.ok(isLocal(host), host);
  for (const host of ['tally.example', '10.0.0.7', 'localhost.example', '[fe80::1]'])
    assert.ok(!isLocal(host), host);
});
