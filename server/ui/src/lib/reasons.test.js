import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { explain } from './reasons.js';

const UNKNOWN = explain('unheard_of').text;

test('a reason is told from its field or metric', () => {
  assert.equal(explain('missing_field:a:b\nc').of, 'a:b\nc');
  assert.equal(explain('missing_field:a').text, explain('missing_field:b').text);
  assert.equal(explain('plugin_failed:m').of, 'm');
});

test('failures of code are not replayed, and what is unknown is not explained', () => {
  assert.deepEqual(
    ['invalid_json', 'plugin_failed:m', 'internal_error', 'constructor'].map(
      (one) => explain(one).replayable,
    ),
    [true, false, false, false],
  );
  assert.equal(explain('constructor').text, UNKNOWN);
});

test('every reason of the documents is explained', () => {
  const text = readFileSync(new URL('../../../../docs/operations.md', import.meta.url), 'utf8');
  const table = text.split('\n## Dead letters\n')[1].split('\n| reason |')[1].split('\n\n')[0];
  const words = [...table.matchAll(/^\| ([^|]+) \|/gm)].flatMap(([, cell]) =>
    [...cell.matchAll(/`([a-z_0-9]+)/g)].map(([, word]) => word),
  );
  assert.ok(words.length >= 18, words.join());
  for (const word of words) assert.notEqual(explain(`${word}:x`).text, UNKNOWN, word);
});
