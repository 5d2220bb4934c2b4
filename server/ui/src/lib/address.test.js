import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paramsOf } from './address.js';

test('an object of JSON is params, anything else is none', () => {
  assert.deepEqual(paramsOf('{"window":"1h","a":[1]}'), { window: '1h', a: [1] });
  for (const text of [undefined, '', '{', '[]', '7', 'null', '"x"', `{"a":"${'x'.repeat(70_000)}"}`]) assert.equal(paramsOf(text), undefined, text?.slice(0, 9));
});

test('a member with a dangerous name stays a member', () => {
  assert.deepEqual(Object.keys(paramsOf('{"__proto__":{"a":1}}')), ['__proto__']);
  assert.equal(paramsOf('{"__proto__":{"a":1}}').a, undefined);
});
