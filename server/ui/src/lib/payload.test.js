import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex, payloadOf, visible } from './payload.js';

test('bytes that are no text are lines of hex', () => {
  assert.equal(hex(new Uint8Array([0xff, 0x41, 0])), `000000  ff 41 00${' '.repeat(39)}  .A.`);
  const lines = hex(new Uint8Array(33)).split('\n');
  assert.deepEqual(
    lines.map((line) => line.slice(0, 6)),
    ['000000', '000010', '000020'],
  );
  assert.equal(hex(new Uint8Array(0)), '');
});

test('what is not seen, or turns the text around, becomes its code', () => {
  assert.equal(visible('a\u0000b\u202Ec\u200Bd'), 'a\\u{0}b\\u{202e}c\\u{200b}d');
  assert.equal(visible('{"a":\t1}\n<img src=x> žšč 漢 😀'), '{"a":\t1}\n<img src=x> žšč 漢 😀');
  assert.equal(visible('\u2028\r'), '\\u{2028}\\u{d}');
});

test('a payload is shown as far as there is room', () => {
  assert.deepEqual(payloadOf({ text: 'abcdef' }, 4), { kind: 'text', shown: 'abcd', left: 2 });
  assert.deepEqual(payloadOf({ text: '' }, 4), { kind: 'text', shown: '', left: 0 });
  const { kind, shown, left } = payloadOf({ bytes_base64: btoa('\xff\xfeabc') }, 2);
  assert.deepEqual([kind, shown.slice(0, 13), left], ['hex', '000000  ff fe', 3]);
  assert.deepEqual(payloadOf({}, 4), { kind: 'none', shown: '', left: 0 });
});
