import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cardOf, columnsFor, fitted, nameBeside, pictures, valueIn } from './picture.js';
import { resolve } from './schema.js';

const count = { type: 'integer' };
const schema = {
  type: 'object',
  properties: {
    total: { ...count, description: 'Number of events.' },
    by_type: { type: 'object', additionalProperties: count },
    rows: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          product_id: { type: ['integer', 'string'], 'x-tally-id': 'product' },
          n: count,
          secret: { ...count, 'x-tally-view': { as: 'hidden' } },
        },
      },
    },
    stages: { type: 'array', items: { $ref: '#/$defs/stage' } },
    series: {
      type: ['array', 'null'],
      items: {
        type: 'object',
        properties: {
          start: { type: 'string', format: 'date-time' },
          total: count,
          by_type: { type: 'object', additionalProperties: count },
        },
      },
    },
    odd: { type: 'array', items: { type: 'string' } },
    revenue: {
      anyOf: [{ type: ['number', 'string'] }, { type: 'null' }],
      'x-tally-view': { unit: 'EUR', title: 'Revenue' },
    },
    secret: { ...count, 'x-tally-view': { as: 'hidden' } },
  },
  $defs: {
    stage: { type: 'object', properties: { event_type: { type: 'string' }, users: count } },
  },
};

test('each property has the picture of its schema, in order', () => {
  const kinds = pictures(schema).map((one) => [one.key, one.kind]);
  assert.deepEqual(kinds, [
    ['total', 'figure'],
    ['by_type', 'bars'],
    ['rows', 'table'],
    ['stages', 'table'],
    ['series', 'series'],
    ['odd', 'tree'],
    ['revenue', 'figure'],
  ]);
});

test('hints win: kind, unit, title, hidden, of columns too', () => {
  const all = pictures(schema);
  const revenue = all.find((one) => one.key === 'revenue');
  assert.equal(revenue.unit, 'EUR');
  assert.equal(revenue.title, 'Revenue');
  const rows = all.find((one) => one.key === 'rows');
  assert.deepEqual(
    rows.columns.map((one) => one.key),
    ['product_id', 'n'],
  );
  assert.equal(rows.columns[0].idKind, 'product');
  const [hinted] = pictures({
    type: 'object',
    properties: { n: { ...count, 'x-tally-view': { as: 'bars' } } },
  });
  assert.equal(hinted.kind, 'bars');
});

test('an id is no number, and a description is the help', () => {
  const [id, total] = pictures({
    type: 'object',
    properties: {
      user_id: { type: ['integer', 'string'], 'x-tally-id': 'user' },
      total: schema.properties.total,
    },
  });
  assert.equal(id.kind, 'tree');
  assert.equal(total.help, 'Number of events.');
});

test('a series knows its lines and its maps', () => {
  const series = pictures(schema).find((one) => one.kind === 'series');
  assert.deepEqual(
    series.lines.map((one) => one.key),
    ['total'],
  );
  assert.deepEqual(
    series.maps.map((one) => one.key),
    ['by_type'],
  );
});

test('what does not fit its schema is a tree, what is absent is nothing', () => {
  const of = (key) => pictures(schema).find((one) => one.key === key);
  assert.equal(fitted(of('total'), { total: 'many' }).kind, 'tree');
  assert.equal(fitted(of('by_type'), { by_type: { a: {} } }).kind, 'tree');
  assert.equal(fitted(of('rows'), { rows: [1] }).kind, 'tree');
  assert.equal(fitted(of('series'), { series: [{ total: 1 }] }).kind, 'tree');
  assert.equal(fitted(of('series'), {}), undefined);
  assert.equal(fitted(of('revenue'), { revenue: '123456789012345678.25' }).kind, 'figure');
});

test('no schema is too odd', () => {
  const loop = { $ref: '#' };
  for (const odd of [
    undefined,
    {},
    { properties: null },
    { properties: { a: true, b: null, c: { $ref: '#/nowhere' }, d: loop } },
    loop,
    { type: 'array', items: false },
    { type: 'number' },
    { anyOf: [] },
  ]) {
    assert.ok(Array.isArray(pictures(odd)));
  }
  assert.equal(pictures({ type: 'number' })[0].kind, 'figure');
  assert.deepEqual(resolve(loop, loop), {});
});

test('a card has one large figure, then bars or a table, then a chart, else trees', () => {
  const result = { total: 3, by_type: { a: 3 }, rows: [], odd: ['x'], revenue: 1 };
  const card = cardOf(pictures(schema), result);
  assert.equal(card.figure.key, 'total');
  assert.deepEqual(
    card.small.map((one) => one.key),
    ['revenue'],
  );
  assert.equal(card.body.key, 'by_type');
  assert.equal(card.chart, undefined);
  assert.deepEqual(card.trees, []);
  assert.deepEqual(
    cardOf(pictures(schema), { odd: ['x'] }).trees.map((one) => one.key),
    ['odd'],
  );
});

test('names stand beside ids', () => {
  const column = { key: 'product_id', kind: 'id' };
  assert.equal(nameBeside({ product_id: 1, name: 'Pan' }, column), 'Pan');
  assert.equal(nameBeside({ product_id: 1, name: 'own', product_name: 'Pan' }, column), 'Pan');
  assert.equal(nameBeside({ product_id: 1, name: 'own', product_name: null }, column), undefined);
});

test('members that may be anything are columns, and what no row has is none', () => {
  const open = { type: 'object', additionalProperties: true };
  const [{ columns }] = pictures({
    type: 'object',
    properties: {
      groups: {
        type: 'array',
        'x-tally-view': { as: 'table' },
        items: {
          type: 'object',
          properties: {
            user_id: { 'x-tally-id': 'user' },
            key: open,
            values: open,
            by_type: { type: 'object', additionalProperties: count },
          },
        },
      },
    },
  });
  const rows = [
    { key: { brand: 'a' }, values: { n: 1, price: { p50: 1 } }, by_type: {} },
    { key: { brand: 'b' }, values: { n: 2, last: '2026-01-01T00:00:00.000Z' }, by_type: {} },
  ];
  const found = columnsFor(columns, rows);
  assert.deepEqual(
    found.map((one) => [one.of, one.key, one.kind]),
    [
      ['key', 'brand', 'text'],
      ['values', 'n', 'number'],
      ['values', 'price', 'other'],
      ['values', 'last', 'time'],
      [undefined, 'by_type', 'other'],
    ],
  );
  assert.deepEqual(
    found.map((one) => valueIn(rows[1], one)),
    ['b', 2, undefined, '2026-01-01T00:00:00.000Z', {}],
  );
  assert.equal(columnsFor(columns, []).length, 4);
  const many = Object.fromEntries(Array.from({ length: 33 }, (_, n) => [`k${n}`, n]));
  assert.deepEqual(
    columnsFor(columns, [{ key: many }]).map((one) => one.key),
    ['key'],
  );
});

test('members of an object are known by its schema', () => {
  const user = {
    type: 'object',
    properties: {
      user_id: { type: ['integer', 'string'], 'x-tally-id': 'user' },
      paid: { ...count, 'x-tally-view': { unit: 'EUR', title: 'Paid' } },
      secret: { ...count, 'x-tally-view': { as: 'hidden' } },
    },
  };
  const [picture] = pictures({ type: 'object', properties: { user } });
  assert.deepEqual(
    [picture.kind, picture.columns.map(({ key, title, kind, unit }) => [key, title, kind, unit])],
    [
      'tree',
      [
        ['user_id', 'user', 'id', ''],
        ['paid', 'Paid', 'number', 'EUR'],
      ],
    ],
  );
});

test('a card begins with what rows come to, not with how many there are', () => {
  const counted = {
    type: 'object',
    properties: {
      total: { type: 'object', additionalProperties: true },
      groups_total: { ...count, 'x-tally-view': { title: 'Groups' } },
      groups: {
        type: 'array',
        items: { type: 'object', properties: { key: { type: 'string' }, n: count } },
      },
    },
  };
  const result = { total: { last: 'x', revenue: 7.5 }, groups_total: 2, groups: [] };
  const card = cardOf(pictures(counted), result);
  assert.deepEqual([card.figure?.at, card.figure?.title], ['/total/revenue', 'revenue']);
  assert.deepEqual(
    card.small.map((one) => one.key),
    ['groups_total'],
  );
  const bare = cardOf(pictures(counted), { groups_total: 2, groups: [] });
  assert.equal(bare.figure?.key, 'groups_total');
});
