// Decides how a result is drawn, from its schema alone.
//
// The rules are those of docs/plugins.md, in this order, for each property: what its author hints
// at with `x-tally-view`; a list of points with a start is a chart; a number is a figure; a map of
// numbers is bars; a list of rows that have a name and a number is a table; anything else is a
// tree. A row's name is a property that holds an id, else a text. A schema that says something else
// than the result is no error: what does not fit becomes a tree.

import { isNumeric, titleOf } from './format.js';
import { below, read } from './pointer.js';
import { resolve, typesOf } from './schema.js';

/** @import {Column, Picture, Schema} from '../types' */

const KINDS = ['figure', 'bars', 'table', 'series'];

/** Members of the rows' objects that become columns, at most. */
const MOST_MEMBERS = 32;

/** @param {Schema} schema */
function isNumber(schema) {
  return (
    !schema['x-tally-id'] && typesOf(schema).some((type) => type === 'number' || type === 'integer')
  );
}

/** @param {Schema} schema @param {Schema} root */
function isMap(schema, root) {
  const values = schema.additionalProperties;
  return typeof values === 'object' && values !== null && isNumber(resolve(values, root));
}

/** @param {Schema} schema */
function hintOf(schema) {
  const hint = schema['x-tally-view'];
  return hint !== null && typeof hint === 'object' ? hint : {};
}

/** @param {string} key @param {Schema} schema */
function named(key, schema) {
  const { title, unit } = hintOf(schema);
  return {
    key,
    title: typeof title === 'string' ? title : titleOf(key),
    unit: typeof unit === 'string' ? unit : '',
    help: typeof schema.description === 'string' ? schema.description : '',
  };
}

/** @param {Schema} items @param {Schema} root @returns {[string, Schema][]} */
function shown(items, root) {
  /** @type {[string, Schema][]} */
  const all = Object.entries(items.properties ?? {}).map(([key, schema]) => [
    key,
    resolve(/** @type {any} */ (schema), root),
  ]);
  return all.filter(([, schema]) => hintOf(schema).as !== 'hidden');
}

/** @param {Schema} items @param {Schema} root @returns {Column[]} */
function columnsOf(items, root) {
  return shown(items, root).map(([key, schema]) => {
    const idKind = schema['x-tally-id'];
    const types = typesOf(schema);
    /** @type {Column['kind']} */
    let kind = 'other';
    if (idKind) kind = 'id';
    else if (isNumber(schema)) kind = 'number';
    else if (types.includes('string')) kind = schema.format === 'date-time' ? 'time' : 'text';
    else if (types.includes('boolean')) kind = 'boolean';
    const open =
      types.includes('object') &&
      !schema.properties &&
      schema.additionalProperties !== false &&
      !isMap(schema, root);
    return {
      ...named(kind === 'id' ? key.replace(/_id$/, '') : key, schema),
      key,
      kind,
      ...(idKind ? { idKind } : {}),
      ...(open ? { open } : {}),
    };
  });
}

/** @param {any} value @returns {Column['kind']} */
function kindOfValue(value) {
  if (typeof value === 'number') return 'number';
  if (typeof value === 'boolean') return 'boolean';
  if (typeof value !== 'string') return 'other';
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(value) ? 'time' : 'text';
}

/** The value of a row in a column. @param {any} row @param {Column} column */
export function valueIn(row, { key, of }) {
  return of === undefined ? row[key] : row[of]?.[key];
}

/**
 * The columns that these rows have: a few members that may be anything are columns of their own,
 * and what no row has is none.
 * @param {Column[]} columns
 * @param {any[]} rows
 * @returns {Column[]}
 */
export function columnsFor(columns, rows) {
  return columns.flatMap((column) => {
    const values = rows.map((row) => row[column.key]).filter((value) => value !== undefined);
    if (values.length === 0) return rows.length > 0 ? [] : [column];
    if (!column.open || !values.every(isObject)) return [column];
    const keys = [...new Set(values.flatMap((value) => Object.keys(value)))];
    if (keys.length > MOST_MEMBERS) return [column];
    return keys.map((key) => {
      const first = values
        .map((value) => value[key])
        .find((value) => value !== undefined && value !== null);
      return {
        key,
        title: titleOf(key),
        unit: '',
        help: '',
        kind: kindOfValue(first),
        of: column.key,
      };
    });
  });
}

/** @param {Column[]} columns */
function areRows(columns) {
  const names = columns.some((column) => column.kind === 'id' || column.kind === 'text');
  return names && columns.some((column) => column.kind === 'number');
}

/**
 * @param {string} key
 * @param {Schema} schema
 * @param {Schema} root
 * @returns {Picture['kind'] | 'hidden'}
 */
function kindOf(key, schema, root) {
  const { as } = hintOf(schema);
  if (as === 'hidden') return 'hidden';
  const items = typesOf(schema).includes('array') ? resolve(schema.items, root) : undefined;
  const points = items?.properties?.start !== undefined;
  if (KINDS.includes(as)) return as;
  if (key === 'series' && points) return 'series';
  if (isNumber(schema)) return 'figure';
  if (isMap(schema, root)) return 'bars';
  if (items && areRows(columnsOf(items, root))) return 'table';
  return 'tree';
}

/**
 * How each property of a result is drawn, in the schema's order. A result that is no object is one
 * picture at `""`.
 * @param {Schema} schema of the result
 * @returns {Picture[]}
 */
export function pictures(schema) {
  const root = schema ?? {};
  const whole = resolve(root, root);
  /** @type {[string, string, Schema][]} */
  const parts = whole.properties
    ? Object.entries(whole.properties).map(([key, part]) => [
        key,
        below('', key),
        resolve(/** @type {any} */ (part), root),
      ])
    : [['result', '', whole]];
  return parts.flatMap(([key, at, part]) => {
    const kind = kindOf(key, part, root);
    if (kind === 'hidden') return [];
    /** @type {Picture} */
    const picture = { kind, at, ...named(key, part) };
    const items = part.items === undefined ? undefined : resolve(part.items, root);
    if (kind === 'table' && items) picture.columns = columnsOf(items, root);
    if (kind === 'tree' && part.properties) picture.columns = columnsOf(part, root);
    if (kind === 'series' && items) {
      const inner = shown(items, root);
      picture.lines = inner
        .filter(([, one]) => isNumber(one))
        .map(([name, one]) => named(name, one));
      picture.maps = inner
        .filter(([, one]) => isMap(one, root))
        .map(([name, one]) => named(name, one));
    }
    return [picture];
  });
}

/** @param {any} value */
export const isObject = (value) =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/**
 * The picture for this value: the same, or a tree where the value is not what the schema says;
 * `undefined` where there is nothing.
 * @param {Picture} picture
 * @param {any} result
 * @returns {Picture | undefined}
 */
export function fitted(picture, result) {
  const value = read(result, picture.at);
  if (value === undefined) return undefined;
  const fits = {
    tree: () => true,
    figure: () => value === null || isNumeric(value),
    bars: () => isObject(value) && Object.values(value).every(isNumeric),
    table: () => Array.isArray(value) && value.every(isObject) && Boolean(picture.columns),
    series: () =>
      Array.isArray(value) &&
      value.every((point) => isObject(point) && typeof point.start === 'string') &&
      Boolean(picture.lines?.length || picture.maps?.length),
  }[picture.kind];
  return fits() ? picture : { ...picture, kind: 'tree' };
}

/**
 * The numbers of the first object that is told by its members, as figures.
 * @param {Picture[]} here @param {any} result
 * @returns {Picture[]}
 */
function membersOf(here, result) {
  const tree = here.find(({ kind, at }) => kind === 'tree' && isObject(read(result, at)));
  if (!tree) return [];
  return Object.entries(read(result, tree.at))
    .filter(([, value]) => isNumeric(value))
    .map(([key]) => ({
      ...tree,
      kind: 'figure',
      at: below(tree.at, key),
      key,
      title: titleOf(key),
    }));
}

/**
 * What a card shows: one large figure and small ones, then bars or a table, a chart, and trees
 * where there is nothing else.
 * @param {Picture[]} all
 * @param {any} result
 */
export function cardOf(all, result) {
  const here = all
    .map((picture) => fitted(picture, result))
    .filter((picture) => picture !== undefined);
  /** @param {Picture['kind'][]} kinds */
  const of = (...kinds) => here.filter((picture) => kinds.includes(picture.kind));
  const [body] = of('bars', 'table');
  const figures = of('figure');
  // How many rows there are is said after what they come to.
  if (body && figures[0]?.key === `${body.key}_total`) figures.unshift(...membersOf(here, result));
  const [figure, ...small] = figures;
  const [chart] = of('series');
  const trees = figure || body || chart ? [] : of('tree');
  return { figure, small, body, chart, trees };
}

/**
 * The name beside an id in an answer that was asked with names: `name`, or `product_name` where a
 * row has several ids or a name of its own.
 * @param {any} row
 * @param {Column} column
 * @returns {string | undefined}
 */
export function nameBeside(row, column) {
  if (column.kind !== 'id' || row === null || typeof row !== 'object') return undefined;
  const long = `${column.key.replace(/_id$/, '')}_name`;
  const name = Object.hasOwn(row, long) ? row[long] : row.name;
  return typeof name === 'string' ? name : undefined;
}
