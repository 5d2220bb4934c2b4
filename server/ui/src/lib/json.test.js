import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from './json.js';

test('a number that would change stays as it stands', () => {
  const text =
    '{"order_id":1234567890123456789,"less":[-9007199254740993],"huge":1e400,' +
    '"n":{"1":18446744073709551615}}';
  assert.deepEqual(parse(text), {
    order_id: '1234567890123456789',
    less: ['-9007199254740993'],
    huge: '1e400',
    n: { 1: '18446744073709551615' },
  });
});

test('all else is read as usual', () => {
  const texts = [
    '[9007199254740991,9007199254740992,0.30000000000000004,1.5e-7,1e22,1.2345678901234567e20]',
    '"1234567890123456789"',
    '{"a\\"1234567890123456789":"\\\\","b":"x\\" 1234567890123456789, 1e400"}',
    '[1234567890.1234567890123]',
    '-0',
  ];
  for (const text of texts) assert.deepEqual(parse(text), JSON.parse(text), text);
  for (const text of ['', '{', '[1234567890123456789', '{1234567890123456789:1}', '01'])
    assert.throws(() => parse(text), SyntaxError, text);
});

test('who cannot do with a text is told', () => {
  const refuse = () => {
    throw new RangeError('too large');
  };
  assert.throws(() => parse('{"id":9007199254740993}', refuse), RangeError);
  assert.deepEqual(parse('{"id":"9007199254740993","n":7}', refuse), {
    id: '9007199254740993',
    n: 7,
  });
});

test('a long text is read in one go', () => {
  const long = JSON.stringify(
    Array.from({ length: 20_000 }, (_, n) => ({ n, t: '\\"'.repeat(9) })),
  );
  const begun = performance.now();
  assert.equal(parse(`[1234567890123456789,${long}]`)[0], '1234567890123456789');
  assert.ok(performance.now() - begun < 2000);
});
