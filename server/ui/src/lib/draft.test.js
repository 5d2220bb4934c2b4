import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultsBelow, nameFor, standing } from './draft.js';

test('a name is made of what is counted, and is one', () => {
  assert.equal(nameFor({}), 'events');
  assert.equal(
    nameFor({ by: ['/Größe/x y', 'event_type'], cells: { n: 'count' } }),
    'n_by_x_y_by_event_type',
  );
  assert.equal(nameFor({ cells: { '7 Ä': 'count' } }), '');
  assert.equal(nameFor({ cells: { ['x'.repeat(99)]: 'count' } }).length, 64);
});

test('faults stand where they are in their member', () => {
  const errors = [
    { pointer: '/config/by/0', detail: 'a' },
    { pointer: '/config/by/0', detail: 'b' },
    { pointer: '/config', detail: 'whole' },
    { pointer: '/configured/x', detail: 'other' },
    { pointer: '/params/limit', detail: 'c' },
  ];
  assert.deepEqual(faultsBelow(errors, '/config'), { '/by/0': ['a', 'b'] });
  assert.deepEqual(faultsBelow(errors, '/params'), { '/limit': ['c'] });
});

test('what is there under a name decides what can be done', () => {
  const section = (name, place, shadowed = false) => ({ name, place, shadowed });
  const sections = [section('mine', 'data_directory'), section('theirs', 'file')];
  const of = (name, served) => standing(name, sections, served);
  assert.deepEqual(of('new', undefined), { there: false, own: false, why: '' });
  assert.deepEqual(of('mine', { state: 'active' }), { there: true, own: true, why: '' });
  assert.match(of('', undefined).why, /name first/);
  assert.match(of('theirs', { state: 'active' }).why, /configuration file/);
  assert.match(of('plugin', { state: 'active' }).why, /Another metric/);
  assert.equal(of('plugin', { state: 'retired' }).why, '');
  // Of two of a name the one in force counts.
  const both = [section('x', 'data_directory', true), section('x', 'file')];
  assert.equal(standing('x', both, undefined).own, false);
});
