import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fields, grouped, idOf, missing, params, placed, texts, typedAt } from './form.js';

const schema = {
  type: 'object',
  required: ['user_id'],
  properties: {
    window: { type: 'string', default: 'all' },
    from: { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'integer' }] },
    bucket: { enum: ['1m', '1h'] },
    order: {
      oneOf: [
        { const: 'desc', type: 'string' },
        { const: 'asc', type: 'string' },
      ],
      default: 'desc',
    },
    limit: { type: 'integer', minimum: 1, maximum: 1000, default: 10 },
    ratio: { type: ['number', 'null'] },
    product_ids: {
      type: ['array', 'null'],
      items: { type: ['integer', 'string'], 'x-tally-id': 'product' },
      maxItems: 100,
    },
    weights: { type: ['object', 'null'], additionalProperties: { type: 'integer' } },
    where: {
      type: 'object',
      required: ['country'],
      properties: { country: { type: 'string' }, exact: { type: 'boolean' } },
    },
    any: {},
    user_id: { type: ['integer', 'string'], 'x-tally-id': 'user', description: 'Whose activity.' },
  },
};
const all = fields(schema);
const of = (key) => all.find((one) => one.key === key);

test('every kind of param has its field; required ones come first, time last', () => {
  assert.deepEqual(
    all.map((one) => [one.key, one.kind]),
    [
      ['user_id', 'id'],
      ['order', 'enum'],
      ['limit', 'integer'],
      ['ratio', 'number'],
      ['product_ids', 'list'],
      ['weights', 'map'],
      ['where', 'object'],
      ['any', 'json'],
      ['window', 'window'],
      ['from', 'time'],
      ['bucket', 'enum'],
    ],
  );
  assert.equal(of('user_id').help, 'Whose activity.');
  assert.deepEqual(of('order').options, ['desc', 'asc']);
  assert.equal(of('product_ids').item.idKind, 'product');
  assert.deepEqual(
    of('where').fields.map((one) => [one.pointer, one.required]),
    [
      ['/where/country', true],
      ['/where/exact', false],
    ],
  );
});

test('fields stand by what they are for, each once', () => {
  const keys = Object.fromEntries(
    Object.entries(grouped(all)).map(([name, group]) => [name, group.map((one) => one.key)]),
  );
  assert.deepEqual(keys, {
    first: ['user_id'],
    range: ['window', 'from'],
    step: ['bucket'],
    more: ['order', 'limit', 'ratio', 'product_ids', 'weights', 'where', 'any'],
  });
  // A time that is no end of a window is a field like others.
  const { range, more } = grouped(
    fields({
      properties: { from: { format: 'date-time', type: 'string' }, limit: { type: 'integer' } },
    }),
  );
  assert.deepEqual([range, more.map((one) => one.key)], [[], ['limit', 'from']]);
});

test('params become texts and the same params again', () => {
  const given = {
    user_id: 'u7',
    order: 'asc',
    limit: 5,
    ratio: 0.5,
    product_ids: [10, 'x'],
    weights: { view: 1 },
    where: { country: 'de', exact: false },
    any: [1, null],
    window: '2h',
    from: 1767225600000,
    bucket: '1h',
  };
  assert.deepEqual(params(all, texts(all, given)), { params: given, faults: [] });
});

test('empty fields are absent, and what no field shows is kept', () => {
  assert.deepEqual(params(all, texts(all, {})), { params: {}, faults: [] });
  assert.deepEqual(params(all, texts(all, {}), { later: 1, limit: 3 }).params, { later: 1 });
});

test('what cannot be read is a fault at its field, not lost and not sent', () => {
  const typed = {
    ...texts(all, {}),
    limit: 'ten',
    any: '{',
    ratio: '0,5',
    weights: [
      { key: 'view', value: 'x' },
      { key: '', value: '1' },
    ],
  };
  const { params: made, faults } = params(all, typed);
  assert.deepEqual(made, { ratio: 0.5 });
  assert.deepEqual(
    faults.map((one) => one.pointer),
    ['/limit', '/weights/view', '/any'],
  );
});

test('a number is asked as it was typed, or not at all', () => {
  const asked = (key, text) => {
    const { params: made, faults } = params(all, { ...texts(all, {}), [key]: text });
    return faults.length > 0 ? faults.map((one) => one.detail).join() : made[key];
  };
  for (const [text, value] of [
    ['0,5', 0.5],
    [' 1.25 ', 1.25],
    ['-3', -3],
    ['+7', 7],
    ['.5', 0.5],
    ['0,125', 0.125],
    ['1e3', 1000],
    ['9007199254740991', 9007199254740991],
  ])
    assert.equal(asked('ratio', text), value, text);
  for (const text of ['0x10', '0b1', 'Infinity', '1e400', '1,2,3', '1 000', '1.2.3', '-'])
    assert.equal(asked('ratio', text), 'not a number', text);
  assert.match(asked('limit', '1,500'), /write 1500 or 1\.5/);
  for (const key of ['limit', 'ratio'])
    for (const text of ['9007199254740993', '-9007199254740992'])
      assert.match(asked(key, text), /beyond 9007199254740991/);
  assert.match(asked('any', '{"id":9007199254740993}'), /9007199254740993 is not exact here/);
  assert.deepEqual(asked('any', '{"id":"9007199254740993"}'), { id: '9007199254740993' });
  assert.equal(asked('from', '1767225600000000'), 1767225600000000);
  assert.equal(asked('from', '9999999999999999'), '9999999999999999');
});

test('the text 7 and the number 7 are one id', () => {
  assert.equal(idOf('7'), 7);
  assert.equal(idOf('007'), '007');
  assert.equal(idOf('9007199254740993'), '9007199254740993');
});

test('faults of a 422 go to the deepest field, what leads to none is listed', () => {
  const { at, rest } = placed(all, [
    { pointer: '/params/limit', detail: 'a' },
    { pointer: '/params/product_ids/3', detail: 'b' },
    { pointer: '/params/where/country', detail: 'c' },
    { pointer: '/params/weights/view', detail: 'd' },
    { pointer: '/params/nonsense', detail: 'e' },
    { pointer: '/name', detail: 'f' },
  ]);
  assert.deepEqual(at, {
    '/limit': ['a'],
    '/product_ids/3': ['b'],
    '/where/country': ['c'],
    '/weights/view': ['d'],
  });
  assert.deepEqual(
    rest.map((one) => one.detail),
    ['e', 'f'],
  );
});

test('says what is missing, and writes deep', () => {
  assert.deepEqual(
    missing(all, {}).map((one) => one.key),
    ['user_id'],
  );
  assert.deepEqual(typedAt({ where: { country: '' } }, '/where/country', 'de'), {
    where: { country: 'de' },
  });
});

test('a schema that contains itself ends', () => {
  const loop = { type: 'object', properties: { child: { $ref: '#' } } };
  assert.equal(fields(loop)[0].kind, 'object');
});
