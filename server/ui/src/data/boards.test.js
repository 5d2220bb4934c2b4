import assert from 'node:assert/strict';
import { test } from 'node:test';
import { empty, judge } from '../lib/board.js';

const QUESTION = { metric: 'm', params: { window: '1h' } };
let copies = 0;

/** The module as a page has it that opens now. */
async function page(localStorage) {
  const told = {};
  const window = {
    addEventListener: (name, listener) => {
      told[name] = listener;
    },
  };
  if (localStorage) window.localStorage = localStorage;
  else
    Object.defineProperty(window, 'localStorage', {
      get: () => {
        throw new Error('denied');
      },
    });
  globalThis.window = window;
  copies += 1;
  return { ...(await import(`./boards.js?${copies}`)), window, told };
}

/** A browser's storage; `room` is what it can hold. */
function storage(kept = {}, room = Infinity) {
  return {
    kept,
    getItem: (key) => kept[key] ?? null,
    setItem(key, text) {
      if (text.length > room) throw new Error('QuotaExceededError');
      kept[key] = text;
    },
  };
}
const keptIn = (store) =>
  Object.fromEntries(
    Object.entries(JSON.parse(store.kept['tally.boards']).boards).map(([id, board]) => [
      id,
      board.items.map((item) => item.id),
    ]),
  );

/** Does something on a page. */
async function on(one, act) {
  globalThis.window = one.window;
  return act(one);
}

test('a question is pinned to the board that was used last, or to a new one', async () => {
  const store = storage();
  const one = await page(store);
  assert.deepEqual(one.pin({ ...QUESTION, title: undefined, expand: [], picture: 'pie' }), {
    board: '~my-board',
    id: 'm-1',
  });
  const other = one.make(empty('Größe & Ümläut'));
  assert.match(other, /^~[a-z0-9-]+$/);
  assert.deepEqual(one.pin({ ...QUESTION, title: 'x'.repeat(500), picture: 'series' }), {
    board: other,
    id: 'm-1',
  });
  one.use('~my-board');
  assert.deepEqual(one.pin(QUESTION), { board: '~my-board', id: 'm-2' });
  assert.deepEqual(keptIn(store), { '~my-board': ['m-1', 'm-2'], [other]: ['m-1'] });
  for (const board of Object.values(one.kept.value)) assert.deepEqual(judge(board), []);
  const later = await page(store);
  assert.deepEqual(later.kept.value, one.kept.value);
  assert.equal(later.pin(QUESTION).board, '~my-board');
});

test('what another page keeps meanwhile is not lost', async () => {
  const store = storage();
  const [one, two] = [await page(store), await page(store)];
  await on(one, () => one.make(empty('One')));
  await on(two, () => two.make(empty('Two')));
  await on(one, () => one.told.storage({ key: 'tally.boards' }));
  assert.deepEqual(Object.keys(one.kept.value), ['~one', '~two']);
});

test('what is removed comes back, until something else changes', async () => {
  const one = await page(storage());
  const { board } = one.pin(QUESTION);
  one.remove(board);
  assert.deepEqual(one.kept.value, {});
  one.removed.value.back();
  assert.deepEqual(Object.keys(one.kept.value), [board]);
  assert.equal(one.removed.value, undefined);
  one.removeItem(board, one.kept.value[board].items[0]);
  assert.equal(one.removed.value.text, 'Removed “m”.');
  assert.equal(one.kept.value[board].items.length, 0);
  one.removed.value.back();
  assert.equal(one.kept.value[board].items.length, 1);
  assert.equal(one.removed.value, undefined);
});

test('what comes back takes nothing with it that another page has added meanwhile', async () => {
  const store = storage();
  const [one, two] = [await page(store), await page(store)];
  const { board } = await on(one, () => one.pin(QUESTION));
  await on(one, () => one.removeItem(board, one.kept.value[board].items[0]));
  // It gets the id that is free.
  await on(two, () => two.told.storage({ key: 'tally.boards' }));
  await on(two, () => [two.pin({ ...QUESTION, title: 'theirs' }), two.pin(QUESTION)]);
  await on(one, () => one.removed.value.back());
  assert.deepEqual(keptIn(store)[board].sort(), ['m-1', 'm-2', 'm-3']);
  assert.equal(one.kept.value[board].items.filter((item) => item.title === 'theirs').length, 1);
  // A board that comes back, where another has its address.
  await on(one, () => one.remove(board));
  await on(two, () => two.told.storage({ key: 'tally.boards' }));
  await on(two, () => two.make(empty('My board')));
  await on(one, () => one.removed.value.back());
  assert.deepEqual(
    Object.values(keptIn(store)).map((items) => items.length),
    [0, 3],
  );
});

test('what is no board is not kept, and it is said', async () => {
  const store = storage();
  const one = await page(store);
  const { board } = one.pin(QUESTION);
  const deep = JSON.parse(`${'['.repeat(8000)}${']'.repeat(8000)}`);
  for (const params of [{ deep }, { text: 'x'.repeat(300_000) }]) {
    const items = [{ ...one.kept.value[board].items[0], params }];
    const fault = one.save(board, { ...one.kept.value[board], items });
    assert.match(fault, /levels|larger than 256 KiB/);
    assert.equal(one.trouble.value.why, fault);
    assert.deepEqual(one.kept.value[board].items[0].params, QUESTION.params);
  }
  one.pin(QUESTION);
  assert.equal(one.trouble.value, undefined);
  assert.deepEqual(keptIn(store), { [board]: ['m-1', 'm-2'] });
});

test('without storage boards last as long as the page, and it is said', async () => {
  const one = await page(undefined);
  assert.match(one.trouble.value.title, /keeps nothing/);
  const { board } = one.pin(QUESTION);
  assert.deepEqual(one.pin(QUESTION), { board, id: 'm-2' });
  assert.match(one.trouble.value.title, /keeps nothing/);
});

test('a full storage is told; what is seen stays, and is kept once there is room', async () => {
  const store = storage({}, 400);
  const one = await page(store);
  const first = one.pin(QUESTION);
  assert.equal(one.trouble.value, undefined);
  for (let n = 0; n < 4; n += 1) one.pin(QUESTION);
  assert.match(one.trouble.value.title, /not kept/);
  assert.equal(one.kept.value[first.board].items.length, 5);
  one.save(first.board, {
    ...one.kept.value[first.board],
    items: one.kept.value[first.board].items.slice(4),
  });
  assert.equal(one.trouble.value, undefined);
  assert.deepEqual(keptIn(store), { [first.board]: ['m-5'] });
});

test('what another version keeps is left alone, and comes back once it was discarded', async () => {
  for (const foreign of ['{"version":2,"boards":{}}', 'no json', '{"version":1,"boards":null}']) {
    const store = storage({ 'tally.boards': foreign });
    const one = await page(store);
    assert.equal(one.trouble.value.other, foreign);
    one.pin(QUESTION);
    assert.equal(store.kept['tally.boards'], foreign);
    one.beginAnew();
    assert.deepEqual(keptIn(store), { '~my-board': ['m-1'] });
    one.removed.value.back();
    assert.equal(store.kept['tally.boards'], foreign);
  }
});

test('after a failed write, nothing that another page keeps or that changed is lost', async () => {
  let room = Infinity;
  const store = storage();
  const { setItem } = store;
  store.setItem = function (key, text) {
    if (text.length > room) throw new Error('QuotaExceededError');
    setItem.call(this, key, text);
  };
  const [one, two] = [await page(store), await page(store)];
  const inStore = () => Object.keys(JSON.parse(store.kept['tally.boards']).boards).sort();
  const ids = await on(one, () => ['Both', 'Gone'].map((title) => one.make(empty(title))));
  room = 0;
  await on(one, () => {
    one.save(ids[0], { ...one.kept.value[ids[0]], title: 'Changed here' });
    one.remove(ids[1]);
    one.make(empty('Mine'));
  });
  assert.match(one.trouble.value.title, /not kept/);
  room = Infinity;
  await on(two, () => {
    two.told.storage({ key: 'tally.boards' });
    two.make(empty('Theirs'));
    two.save(ids[0], { ...two.kept.value[ids[0]], title: 'Changed there' });
  });
  assert.deepEqual(inStore(), ['~both', '~gone', '~theirs']);
  await on(one, () => one.told.storage({ key: 'tally.boards' }));
  assert.deepEqual(Object.keys(one.kept.value).sort(), ['~both', '~mine', '~theirs']);
  await on(one, () => one.make(empty('Last')));
  assert.equal(one.trouble.value, undefined);
  assert.deepEqual(inStore(), ['~both', '~last', '~mine', '~theirs']);
  assert.equal(JSON.parse(store.kept['tally.boards']).boards['~both'].title, 'Changed here');
});

test('what was discarded cannot be restored where there is no room, and it is said', async () => {
  const foreign = `no json ${'x'.repeat(100)}`;
  const store = storage({ 'tally.boards': foreign }, 80);
  const one = await page(store);
  one.beginAnew();
  assert.equal(one.trouble.value, undefined);
  one.removed.value.back();
  assert.match(one.trouble.value.title, /cannot be restored/);
  assert.notEqual(one.removed.value, undefined);
});

test('a board that is none is left where it is, and the others are there', async () => {
  const [good, bad] = [empty('Good'), { version: 1, title: '', items: [] }];
  const store = storage({
    'tally.boards': JSON.stringify({ version: 1, boards: { '~my-board': bad, '~good': good } }),
  });
  const one = await page(store);
  const inStore = () => JSON.parse(store.kept['tally.boards']).boards;
  assert.deepEqual(one.kept.value, { '~good': good });
  assert.deepEqual(JSON.parse(one.trouble.value.other), { '~my-board': bad });
  assert.equal(one.make(empty('My board')), '~my-board-2');
  assert.deepEqual(inStore()['~my-board'], bad);
  assert.match(one.trouble.value.why, /~my-board/);
  one.beginAnew();
  assert.equal(one.trouble.value, undefined);
  assert.deepEqual(Object.keys(inStore()).sort(), ['~good', '~my-board-2']);
  one.removed.value.back();
  assert.deepEqual(inStore()['~my-board'], bad);
});

test('there are so many boards of so many questions and bytes, and no more', async () => {
  const one = await page(storage());
  for (let n = 0; n < 101; n += 1) one.pin(QUESTION);
  assert.deepEqual(
    Object.values(one.kept.value).map((board) => board.items.length),
    [100, 1],
  );
  const large = { metric: 'm', params: { text: 'x'.repeat(200_000) } };
  assert.notEqual(one.pin(large).id, '');
  assert.throws(() => one.pin(large), /larger than 256 KiB/);
  assert.throws(() => one.pin({ metric: 'No', params: {} }), /items.2.metric must be/);
  for (let n = 0; n < 98; n += 1) assert.ok(one.make(empty(`Board ${n}`)));
  assert.equal(one.make(empty('One more')), undefined);
  assert.match(one.trouble.value.title, /No more boards/);
  for (const board of Object.values(one.kept.value)) assert.deepEqual(judge(board), []);
});
