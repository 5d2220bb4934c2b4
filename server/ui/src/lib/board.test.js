import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  added,
  arranged,
  empty,
  faultOf,
  judge,
  LARGEST,
  pack,
  parse,
  placed,
  restored,
  rowsOf,
  stepped,
  unpack,
  write,
} from './board.js';

/** Of the repository, from its root. */
const read = (path) =>
  JSON.parse(readFileSync(new URL(`../../../../${path}`, import.meta.url), 'utf8'));
const schema = read('server/src/boards/schema.json');
const shop = read('contrib/boards/shop.json');

const item = (id, x, y, w, h, more = {}) => ({
  id,
  metric: 'event_frequencies',
  params: { window: '1h' },
  x,
  y,
  w,
  h,
  ...more,
});
const board = {
  version: 1,
  title: 'Wall – größer',
  items: [
    item('a', 0, 0, 4, 4),
    item('b', 4, 0, 8, 4, { title: 'B', picture: 'series', expand: ['names'] }),
  ],
};
const pointers = (value) => judge(value).map((one) => one.pointer);
const at = (items) => Object.fromEntries(items.map(({ id, x, y, w, h }) => [id, [x, y, w, h]]));

test('a board is written and read back the same, the example of the repository too', () => {
  for (const one of [board, shop, empty()])
    assert.deepEqual(parse(write(one)), { board: one, faults: [] });
});

test('everything that is wrong is said at once, with its place', () => {
  const faults = pointers({
    version: 2,
    title: '',
    'co/lour': 1,
    items: [
      item('a', 0, 0, 9, 0, { picture: 'pie' }),
      item('b', 8, 0, 5, 1),
      item('b', 0, 0, 1, 1),
      item('b', 0, 0, 1, 1),
      7,
      { id: 'ok', metric: 'No', params: [], x: 0.5, y: -1, w: '1' },
    ],
  });
  assert.deepEqual(faults, [
    '/version',
    '/title',
    '/co~1lour',
    '/items/0/h',
    '/items/0/picture',
    '/items/1',
    '/items/2/id',
    '/items/3/id',
    '/items/4',
    '/items/5/h',
    '/items/5/metric',
    '/items/5/params',
    '/items/5/x',
    '/items/5/y',
    '/items/5/w',
  ]);
  assert.deepEqual(pointers([]), ['']);
  assert.match(parse('{').faults[0].detail, /^is no JSON/);
  assert.equal(parse(' '.repeat(LARGEST + 1)).faults.length, 1);
  assert.deepEqual(
    pointers({ ...board, items: Array.from({ length: 101 }, (_, n) => item(`p${n}`, 0, n, 1, 1)) }),
    ['/items'],
  );
});

/** Values at the bounds of a schema, with whether they are within. */
function bounds(of) {
  const text = (length) => '😀'.repeat(length);
  const cases = [];
  if (of.minimum !== undefined)
    cases.push([of.minimum, true], [of.minimum - 1, false], [of.minimum + 0.5, false]);
  if (of.maximum !== undefined) cases.push([of.maximum, true], [of.maximum + 1, false]);
  if (of.minLength !== undefined)
    cases.push([text(of.minLength), true], [text(of.minLength - 1), false]);
  if (of.maxLength !== undefined)
    cases.push([text(of.maxLength), true], [text(of.maxLength + 1), false]);
  if (of.enum) cases.push(...of.enum.map((one) => [one, true]), ['other', false]);
  if (of.pattern)
    for (const one of ['a', 'a-', 'A', '_a', '0', '', 'a\n', 'a b', 'a'.repeat(64), 'a'.repeat(65)])
      cases.push([one, new RegExp(of.pattern).test(one)]);
  const other = { string: 1, integer: '1', object: [], array: {} }[of.type];
  return [...cases, [other, false], [null, false]];
}

test('the form is that of the schema of the server: its keys, what is required, its bounds', () => {
  const inner = schema.properties.items.items;
  for (const [root, of, made] of [
    ['', schema, (key, value) => ({ ...board, [key]: value })],
    [
      '/items/0',
      inner,
      (key, value) => ({ ...board, items: [{ ...item('q', 0, 0, 1, 1), [key]: value }] }),
    ],
  ]) {
    for (const key of of.required)
      assert.deepEqual(pointers(JSON.parse(JSON.stringify(made(key, undefined)))), [
        `${root}/${key}`,
      ]);
    for (const [key, one] of Object.entries(of.properties)) {
      for (const [value, good] of bounds(one)) {
        if (key === 'w' && value > 12) continue;
        assert.deepEqual(
          pointers(made(key, value)),
          good ? [] : [`${root}/${key}`],
          `${root}/${key}: ${JSON.stringify(value)}`,
        );
      }
    }
    assert.deepEqual(pointers(made('other', 1)), [`${root}/other`]);
  }
  const expand = inner.properties.expand;
  assert.deepEqual([expand.maxItems, expand.items.const], [1, 'names']);
  for (const [value, count] of [
    [[], 0],
    [['names'], 0],
    [['names', 'names'], 1],
    [['ids'], 1],
  ])
    assert.equal(
      judge({ ...board, items: [item('q', 0, 0, 1, 1, { expand: value })] }).length,
      count,
    );
  assert.equal(schema.properties.items.maxItems, 100);
});

test('what overlaps moves down, and empty rows close', () => {
  assert.deepEqual(
    at(arranged([item('c', 0, 9999, 12, 1), item('b', 2, 1, 4, 2), item('a', 0, 0, 4, 3)])),
    { a: [0, 0, 4, 3], b: [2, 3, 4, 2], c: [0, 5, 12, 1] },
  );
  assert.deepEqual(arranged(shop.items), shop.items);
});

test('a moved item gets its place, within the grid, and changes places with what it passes', () => {
  const items = [item('a', 0, 0, 4, 4), item('b', 0, 4, 4, 2), item('c', 4, 0, 8, 6)];
  assert.deepEqual(at(placed(items, 'a', { x: 0, y: 2, w: 4, h: 4 })), {
    b: [0, 0, 4, 2],
    c: [4, 0, 8, 6],
    a: [0, 2, 4, 4],
  });
  assert.deepEqual(at(placed(items, 'b', { x: 0, y: 0, w: 4, h: 2 })), {
    b: [0, 0, 4, 2],
    c: [4, 0, 8, 6],
    a: [0, 2, 4, 4],
  });
  assert.deepEqual(at(placed(items, 'b', { x: 99, y: -3, w: 99, h: 0 })), {
    b: [0, 0, 12, 1],
    a: [0, 1, 4, 4],
    c: [4, 1, 8, 6],
  });
  assert.deepEqual(at(placed(items, 'c', { x: NaN, y: 0, w: 6, h: 1 })).c, [0, 0, 6, 1]);
  assert.equal(placed(items, 'nobody', items[0]), items);
});

test('a step goes as far as something changes, and no further than the grid', () => {
  const items = [item('a', 0, 0, 4, 4), item('b', 0, 4, 4, 2)];
  assert.deepEqual(at(stepped(items, 'a', { y: 1 })), { b: [0, 0, 4, 2], a: [0, 2, 4, 4] });
  assert.deepEqual(at(stepped(items, 'a', { x: 1 })).a, [1, 0, 4, 4]);
  assert.deepEqual(at(stepped(items, 'a', { w: -1 })).a, [0, 0, 3, 4]);
  for (const by of [{ x: -1 }, { y: -1 }]) assert.equal(stepped(items, 'a', by), items);
  assert.equal(stepped([item('a', 8, 0, 4, 1)], 'a', { x: 1 }).at(0).x, 8);
});

test('any moves of any board leave a board whose items do not overlap', () => {
  let seed = 7;
  const random = (most) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return seed % most;
  };
  let items = Array.from({ length: 20 }, (_, n) =>
    item(`i${n}`, random(6), random(9000), 1 + random(6), 1 + random(8)),
  );
  for (let n = 0; n < 400; n += 1) {
    items = placed(items, `i${random(20)}`, {
      x: random(15) - 2,
      y: random(60) - 2,
      w: random(15),
      h: random(9),
    });
    assert.deepEqual(judge({ ...board, items }), []);
    for (const [index, a] of items.entries()) {
      for (const b of items.slice(index + 1))
        assert.ok(
          a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y,
          `${a.id} over ${b.id}`,
        );
    }
    assert.ok(rowsOf(items) <= items.reduce((sum, one) => sum + one.h, 0));
  }
});

test('a question comes where there is room first, with a free id and nothing absent', () => {
  const one = added(board, { metric: 'm', params: {}, title: undefined, picture: undefined });
  assert.deepEqual(one.board.items.at(-1), {
    id: 'm-1',
    metric: 'm',
    params: {},
    x: 0,
    y: 4,
    w: 6,
    h: 7,
  });
  const two = added(one.board, { metric: 'm', params: {}, picture: 'series' });
  assert.equal(two.id, 'm-2');
  assert.deepEqual(at(two.board.items)['m-2'], [0, 11, 8, 5]);
  assert.deepEqual(
    judge(added(two.board, { metric: 'm'.repeat(64), params: {}, picture: 'figure' }).board),
    [],
  );
});

test('params are as deep as they may be, and no deeper', () => {
  const deep = (levels) => ({ a: JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`) });
  const of = (params) => ({ ...board, items: [item('a', 0, 0, 1, 1, { params })] });
  assert.deepEqual(pointers(of(deep(63))), []);
  assert.deepEqual(pointers(of(deep(64))), ['/items/0/params']);
  assert.deepEqual(pointers(of(deep(8000))), ['/items/0/params']);
});

test('what is written can be read again, however large, and bytes count', () => {
  // Small when it is compact, too large when it is indented.
  const list = Array.from({ length: 60_000 }, () => 1);
  const large = { ...board, items: [item('a', 0, 0, 1, 1, { params: { list } })] };
  assert.ok(JSON.stringify(large, null, 2).length > LARGEST);
  assert.equal(faultOf(large), undefined);
  assert.deepEqual(parse(write(large)), { board: large, faults: [] });
  assert.match(write(board), /^\{\n {2}"version"/);
  const text = (letter, count) => ({
    ...board,
    items: [item('a', 0, 0, 1, 1, { params: { text: letter.repeat(count) } })],
  });
  assert.equal(faultOf(text('x', 200_000)), undefined);
  assert.match(String(faultOf(text('ü', 200_000))), /larger than 256 KiB/);
  assert.equal(parse(JSON.stringify(text('ü', 200_000))).faults.length, 1);
  assert.match(String(faultOf(text('x', LARGEST))), /larger than 256 KiB/);
  assert.match(String(faultOf({ ...board, title: '' })), /\/title must be/);
});

test('an item comes back to its place, beside what came meanwhile', () => {
  const gone = item('m-1', 4, 0, 4, 2, { metric: 'm' });
  const other = item('m-2', 4, 0, 8, 3, { metric: 'm' });
  const back = restored({ ...board, items: [item('a', 0, 0, 4, 4), other] }, gone);
  assert.deepEqual(at(back.items), { a: [0, 0, 4, 4], 'm-1': [4, 0, 4, 2], 'm-2': [4, 2, 8, 3] });
  // Its id was given away.
  const twice = restored({ ...board, items: [{ ...other, id: 'm-1' }] }, gone);
  assert.deepEqual(at(twice.items), { 'm-2': [4, 0, 4, 2], 'm-1': [4, 2, 8, 3] });
  assert.deepEqual(judge(twice), []);
});

test('a board in an address is the same board', async () => {
  const text = await pack(board);
  assert.match(text, /^[\w-]+$/);
  assert.deepEqual(await unpack(text), { board, faults: [] });
});

test('what is no board in an address is a fault: cut, made up, or a bomb', async () => {
  const text = await pack(board);
  for (const broken of [text.slice(0, -8), '***', '', 'x'.repeat(300_000)])
    assert.equal((await unpack(broken)).board, undefined);
  const { deflateRawSync } = await import('node:zlib');
  const bomb = deflateRawSync(Buffer.alloc(50_000_000, 32)).toString('base64url');
  assert.equal((await unpack(bomb)).faults.length, 1);
});
