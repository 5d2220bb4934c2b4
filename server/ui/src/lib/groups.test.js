import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupChart } from './groups.js';
import { read } from './pointer.js';

const picture = {
  kind: 'table',
  at: '/rows',
  key: 'rows',
  title: 'rows',
  help: '',
  unit: '',
  columns: [
    { key: 'product_id', title: 'product', help: '', unit: '', kind: 'id', idKind: 'product' },
    { key: 'n', title: 'n', help: '', unit: '', kind: 'number' },
  ],
};
const at = (minute) => `2026-01-01T00:0${minute}:00.000Z`;
const result = {
  rows: [
    {
      product_id: 7,
      name: 'Seven',
      n: 3,
      series: [
        { start: at(1), total: 1, partial: true },
        { start: at(2), total: 2 },
      ],
    },
    {
      product_id: 'x',
      name: null,
      n: 4,
      series: [
        { start: at(0), total: 4 },
        { start: 'nonsense', total: 9 },
        { start: at(2), total: null },
      ],
    },
  ],
};

test('each row is a line over the steps of all, and a number says where it is from', () => {
  const { title, chart } = groupChart(picture, result);
  assert.equal(title, 'rows: total');
  assert.deepEqual(
    chart.times.map((time) => new Date(time).toISOString()),
    [at(0), at(1), at(2)],
  );
  assert.deepEqual(
    chart.lines.map((line) => [line.key, line.title, line.values]),
    [
      ['7', 'Seven 7', [null, 1, 2]],
      ['x', 'x', [4, null, null]],
    ],
  );
  assert.deepEqual(chart.partial, [false, true, false]);
  for (const line of chart.lines)
    line.values.forEach((value, index) =>
      assert.equal(
        value === null ? undefined : value,
        line.at[index] && read(result, line.at[index]),
      ),
    );
});

test('no more lines than can be told apart, and it says so', () => {
  const rows = Array.from({ length: 20 }, (_, product_id) => ({
    product_id,
    series: [{ start: at(0), total: 1 }],
  }));
  const { title, chart } = groupChart(picture, { rows });
  assert.deepEqual([title, chart.lines.length], ['rows: total, the first 8 of 20', 8]);
});

test('rows without points have no chart', () => {
  for (const rows of [
    undefined,
    null,
    7,
    [],
    [null],
    [{ product_id: 1 }],
    [{ series: [] }],
    [{ series: [{ start: at(0) }] }],
    [{ series: 'x' }],
  ]) {
    assert.equal(groupChart(picture, { rows }), undefined);
  }
  assert.equal(groupChart({ ...picture, kind: 'tree' }, result), undefined);
});
