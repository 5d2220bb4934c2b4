import assert from 'node:assert/strict';
import { test } from 'node:test';

let copies = 0;
/** The module as a page has it that opens now. */
const page = () => import(`./colour.js?${(copies += 1)}`);

test('a text chooses its colour, whatever was seen before', async () => {
  const [one, two] = [await page(), await page()];
  one.seen(['view', 'buy']);
  one.seen(['wishlist']);
  two.colour('wishlist');
  for (const key of ['wishlist', 'buy', 'view']) assert.equal(two.colour(key), one.colour(key));
});

test('keys seen together differ while there are colours, and the rest has its own', async () => {
  const { colour, seen } = await page();
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'h'];
  seen(keys);
  const all = keys.map(colour);
  assert.equal(new Set(all).size, keys.length);
  assert.ok(!all.includes(colour('')));
  seen([...keys, 'one more']);
  assert.deepEqual(keys.map(colour), all);
});
