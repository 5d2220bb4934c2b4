import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  builderOf,
  cellName,
  cellsOf,
  columnOf,
  configWith,
  fieldsFor,
  settings,
  toml,
  whyNoKey,
} from './section.js';

const decimal = {
  'x-tally-column': { takes: ['number'], read_as: { decimal: 4 } },
  type: 'string',
};
const order = {
  'x-tally-column': { takes: ['number', 'time'], read_as: { decimal: 4 } },
  type: 'string',
};
const any = { 'x-tally-column': { read_as: 'text' }, type: 'string' };
const cell = (how, of, title) => ({
  type: 'object',
  properties: { [how]: of },
  required: [how],
  title,
});
const SCHEMA = {
  type: 'object',
  required: ['cells'],
  properties: {
    by: {
      type: 'array',
      maxItems: 3,
      'x-tally-column': { names: ['user_id', 'product_id', 'event_type'], read_as: 'text' },
    },
    cells: {
      type: 'object',
      maxProperties: 32,
      additionalProperties: { $ref: '#/$defs/Cell' },
      examples: [{ events: 'count' }],
    },
    types: { type: 'object', additionalProperties: { type: 'string' } },
    only: {
      type: 'array',
      items: { type: 'string' },
      description: 'Which.',
      'x-tally-column': { values_of: 'user_id' },
    },
  },
  $defs: {
    Cell: {
      oneOf: [
        { const: 'count', title: 'number of events' },
        cell('sum', decimal),
        cell('max', order),
        cell('distinct', any, 'different'),
      ],
    },
  },
};
const BUILDER = builderOf({ name: 'plain', config_schema: SCHEMA });

test('what can be told a plugin is in its schema', () => {
  assert.deepEqual(
    [BUILDER.plugin, BUILDER.mostKeys, BUILDER.mostCells, BUILDER.begin],
    ['plain', 3, 32, { cells: { events: 'count' } }],
  );
  assert.deepEqual(
    Object.entries(BUILDER.cells).map(([how, { title, of }]) => [how, title, Boolean(of)]),
    [
      ['count', 'number of events', false],
      ['sum', 'sum', true],
      ['max', 'max', true],
      ['distinct', 'different', true],
    ],
  );
  const without = (key) => ({
    ...SCHEMA,
    properties: { ...SCHEMA.properties, [key]: { type: 'string' } },
  });
  for (const schema of [
    true,
    {},
    { type: 'object' },
    without('by'),
    without('cells'),
    without('types'),
    { ...SCHEMA, required: ['only'] },
  ]) {
    assert.equal(
      builderOf({ name: 'other', config_schema: schema }),
      undefined,
      JSON.stringify(schema),
    );
  }
});

test('what is no choice of fields is a form, with what was seen', () => {
  const seen = [{ pointer: '/u', mapped: 'user_id', types: {}, share: 1, examples: [1, 2] }];
  const { properties, required } = settings(BUILDER, seen);
  assert.deepEqual(Object.keys(properties), ['only']);
  assert.equal(properties.only.description, 'Which. Seen lately: 1, 2.');
  assert.equal(settings(BUILDER, []).properties.only.description, 'Which.');
  assert.deepEqual(required, ['cells']);
});

/** @type {import('./section.js').EventField[]} */
const FIELDS = [
  { pointer: '/u', mapped: 'user_id', as: 'integer', types: {}, share: 1, examples: [] },
  { pointer: '/id', mapped: 'event_id', as: 'text', types: {}, share: 1, examples: [] },
  { pointer: '/shop_id', as: 'integer', types: {}, share: 1, examples: [] },
  { pointer: '/price', as: { decimal: 2 }, types: {}, share: 1, examples: [] },
  { pointer: '/fine', as: { decimal: 7 }, types: {}, share: 1, examples: [] },
  { pointer: '/at', as: 'time', types: {}, share: 1, examples: [] },
  { pointer: '/tags', types: { array: 1 }, share: 1, examples: [] },
];

test('three fields of an event have a name, the others are pointers', () => {
  assert.deepEqual(
    FIELDS.slice(0, 3).map((field) => columnOf(BUILDER, field)),
    ['user_id', '/id', '/shop_id'],
  );
});

test('a cell is offered only fields that it can be of', () => {
  const of = (how) => fieldsFor(BUILDER, FIELDS, how).map((field) => columnOf(BUILDER, field));
  assert.deepEqual(of('count'), []);
  assert.deepEqual(of('sum'), ['/shop_id', '/price', '/fine']);
  assert.deepEqual(of('max'), ['/shop_id', '/price', '/fine', '/at']);
  assert.deepEqual(of('distinct'), ['user_id', '/id', '/shop_id', '/price', '/fine', '/at']);
});

test('types are said where the usual one would not do, and nowhere else', () => {
  const cells = [
    { name: 'n', how: 'count', of: '' },
    { name: 'r', how: 'sum', of: '/price' },
    { name: 'f', how: 'sum', of: '/fine' },
    { name: 'ids', how: 'distinct', of: '/id' },
    { name: 'last', how: 'max', of: '/at' },
  ];
  assert.deepEqual(
    configWith(BUILDER, { tiers: ['1d'], types: { '/gone': 'bool', '/x': 'bool' } }, FIELDS, {
      by: ['user_id', '/shop_id', '/gone'],
      cells,
    }),
    {
      by: ['user_id', '/shop_id', '/gone'],
      cells: {
        n: 'count',
        r: { sum: '/price' },
        f: { sum: '/fine' },
        ids: { distinct: '/id' },
        last: { max: '/at' },
      },
      types: { '/shop_id': 'integer', '/gone': 'bool', '/fine': { decimal: 7 }, '/at': 'time' },
      tiers: ['1d'],
    },
  );
  assert.deepEqual(
    configWith(BUILDER, { by: ['user_id'], cells: { n: 'count' } }, FIELDS, { by: [], cells: [] }),
    {},
  );
});

test('cells are read as they are written, and odd ones do no harm', () => {
  assert.deepEqual(cellsOf({ cells: { n: 'count', r: { sum: '/price' }, odd: {} } }), [
    { name: 'n', how: 'count', of: '' },
    { name: 'r', how: 'sum', of: '/price' },
    { name: 'odd', how: '', of: '' },
  ]);
  assert.deepEqual(cellsOf({}), []);
});

test('names of cells are plain and not taken twice', () => {
  assert.equal(cellName(BUILDER, { how: 'count', of: '' }), 'events');
  assert.equal(cellName(BUILDER, { how: 'count', of: '' }, ['events', 'events_2']), 'events_3');
  assert.equal(cellName(BUILDER, { how: 'sum', of: '/basket/Grand Total €' }), 'sum_grand_total');
});

test('a section is written so that a configuration can hold it', () => {
  const config = {
    by: ['/a "b"\u007f\u202e'],
    cells: { n: 'count', 'odd name': { sum: '/price' } },
    quantiles: [0.5],
    types: { '/price': { decimal: 2 } },
  };
  assert.equal(
    toml('sales', { plugin: 'counts', retention: { '1m': '48h' }, config }),
    `[metrics.sales]
plugin = "counts"
retention = { 1m = "48h" }
config.by = ["/a \\"b\\"\\u007f\\u202e"]
config.cells = { n = "count", "odd name" = { sum = "/price" } }
config.quantiles = [0.5]
config.types = { "/price" = { decimal = 2 } }
`,
  );
});

test('why a field cannot be counted by, and where it can be used', () => {
  const builder = builderOf({ name: 'a', config_schema: SCHEMA });
  const keys = { ...builder.keys, takes: ['text', 'integer', 'bool'] };
  const field = (/** @type {any} */ as, more = {}) => ({
    pointer: '/price',
    types: {},
    share: 1,
    examples: [],
    as,
    ...more,
  });
  const why = (/** @type {any} */ as, more = {}) => whyNoKey({ ...builder, keys }, field(as, more));
  assert.equal(why('text'), '');
  assert.equal(why('integer'), '');
  assert.equal(why('time', { mapped: 'user_id' }), '', 'what has a name is read as it is');
  assert.equal(why({ decimal: 2 }), 'a decimal cannot be a group; use it in sum, max, different');
  assert.match(why('time'), /^a time cannot be a group; use it in max, different$/);
  assert.match(why(undefined), /several types/);
  assert.equal(whyNoKey(builder, field('time')), '', 'a plugin that does not say takes all');
});
