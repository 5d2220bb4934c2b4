// A section `[metrics.NAME]`, made by choosing among the fields of recent events.
//
// Knows no plugin and nothing of events: what a plugin can be told is in the schema of its
// configuration, what there is to choose comes from `api/fields`, and the server judges. A plugin
// can be filled whose configuration has key columns `by`, cells by name, and `types` for columns
// that are not read as usual; `x-tally-column` says which columns a text may name.

import { resolve } from './schema.js';
import { keysOf } from './pointer.js';

/** @import {Schema} from '../types' */

/**
 * @typedef {object} EventField a field of recent events, as `api/fields` tells it
 * @property {string} pointer
 * @property {Record<string, number>} types
 * @property {number} share
 * @property {any[]} examples
 * @property {number} [distinct]
 * @property {string} [mapped]
 * @property {string | { decimal: number }} [as]
 * @typedef {string | Record<string, string>} CellOf
 * @typedef {{ by?: string[], only?: string[], cells?: Record<string, CellOf>,
 *   types?: Record<string, any>, [key: string]: any }} Config
 * @typedef {{ name: string, how: string, of: string }} Cell `of` is empty where it is of no column
 * @typedef {{ takes?: string[], read_as?: any }} Taken which types of columns (none: all), and as
 *   what they are read unless it is said
 * @typedef {{ title: string, of?: Taken }} CellKind without `of` it is of no column
 * @typedef {object} Builder what a plugin can be told
 * @property {string} plugin
 * @property {Schema} schema of its configuration
 * @property {string[]} names of columns that are no pointers
 * @property {Taken} keys
 * @property {number} mostKeys
 * @property {number} mostCells
 * @property {Record<string, CellKind>} cells
 * @property {Config} begin what is counted where nothing is chosen yet
 */

/** Keys of a configuration that are chosen; the others are drawn as a form. */
const CHOSEN = ['by', 'cells', 'types'];

/** @param {Schema} schema @returns {any} */
const columnIn = (schema) => schema['x-tally-column'];

/**
 * What can be told a plugin by choosing; `undefined`: it has another configuration.
 * @param {{ name: string, config_schema: Schema }} plugin @returns {Builder | undefined}
 */
export function builderOf({ name, config_schema: root }) {
  const schema = resolve(root, root);
  const [by, all, types] = CHOSEN.map((key) => resolve(schema.properties?.[key], root));
  const keys = columnIn(by);
  const needed = (schema.required ?? []).every((/** @type {string} */ key) => CHOSEN.includes(key));
  if (!keys || !needed || !types.additionalProperties) return undefined;
  /** @type {Record<string, CellKind>} */
  const cells = {};
  for (const one of resolve(all.additionalProperties, root).anyOf ?? []) {
    const [how, ...more] =
      one.const === undefined ? Object.keys(one.properties ?? {}) : [one.const];
    const of = one.const === undefined ? columnIn(resolve(one.properties?.[how], root)) : undefined;
    if (typeof how !== 'string' || more.length > 0 || (one.const === undefined && !of))
      return undefined;
    cells[how] = { title: one.title ?? how, of };
  }
  if (Object.keys(cells).length === 0) return undefined;
  const begin = all.examples?.[0];
  return {
    plugin: name,
    schema: root,
    names: keys.names ?? [],
    keys,
    mostKeys: by.maxItems ?? Infinity,
    mostCells: all.maxProperties ?? Infinity,
    cells,
    begin: begin ? { cells: begin } : {},
  };
}

/**
 * What a section is called in a configuration.
 * @param {Builder} builder
 * @param {EventField} field
 */
export function columnOf({ names }, { pointer, mapped }) {
  return mapped && names.includes(mapped) ? mapped : pointer;
}

/** @param {string} column */
export function shortOf(column) {
  return keysOf(column).at(-1) ?? column;
}

/** Whether a field can be counted by. @param {Builder} builder @param {EventField} field */
export function isColumn(builder, field) {
  return field.as !== undefined || builder.names.includes(columnOf(builder, field));
}

/** What a type is called: that of a decimal has its digits. @param {EventField['as']} as */
const typeOf = (as) => (typeof as === 'object' ? 'decimal' : String(as));

/**
 * Why a field cannot be counted by; nothing, where it can.
 * @param {Builder} builder @param {EventField} field
 */
export function whyNoKey(builder, field) {
  if (builder.names.includes(columnOf(builder, field))) return '';
  if (!isColumn(builder, field)) return 'its values are of several types, or of none to count by';
  if (takes(builder.keys, field.as)) return '';
  const uses = Object.keys(builder.cells).filter((how) =>
    fieldsFor(builder, [field], how).includes(field),
  );
  const titles = uses.map((how) => builder.cells[how].title).join(', ');
  return `a ${typeOf(field.as)} cannot be a group${titles && `; use it in ${titles}`}`;
}

/** @param {any} as */
const isNumber = (as) => as === 'integer' || typeof as === 'object';

/** Whether columns of a type are taken. @param {Taken} of @param {EventField['as']} as */
const takes = ({ takes: some }, as) =>
  !some || some.includes(typeOf(as)) || (isNumber(as) && some.includes('number'));

/**
 * Fields of which a cell can be.
 * @param {Builder} builder
 * @param {EventField[]} fields
 * @param {string} how
 */
export function fieldsFor(builder, fields, how) {
  const of = builder.cells[how]?.of;
  if (!of) return [];
  return fields.filter((field) => {
    if (!isColumn(builder, field)) return false;
    // What has a name is an id or a word.
    return !of.takes || (!builder.names.includes(columnOf(builder, field)) && takes(of, field.as));
  });
}

/** @param {Config} config @returns {Cell[]} */
export function cellsOf({ cells = {} }) {
  return Object.entries(cells).map(([name, cell]) => {
    const [[how, of]] =
      typeof cell === 'string' ? [[cell, '']] : Object.entries(cell ?? {}).concat([['', '']]);
    return { name, how, of: String(of) };
  });
}

/**
 * A name for a cell that is not taken.
 * @param {Builder} builder
 * @param {Omit<Cell, 'name'>} cell
 * @param {string[]} [taken]
 */
export function cellName({ begin }, { how, of }, taken = []) {
  const words =
    of === ''
      ? (cellsOf(begin).find((cell) => cell.how === how)?.name ?? how)
      : `${how}_${shortOf(of)}`;
  const plain =
    words
      .toLowerCase()
      .replace(/[^a-z0-9_]+/g, '_')
      .replace(/^[^a-z]+|_+$/g, '')
      .slice(0, 40) || 'cell';
  let name = plain;
  for (let next = 2; taken.includes(name); next += 1) name = `${plain}_${next}`;
  return name;
}

/**
 * The configuration with these cells and keys, and with the types that must be said for them. What
 * is empty is left out. Types of fields that recent events do not have stay.
 * @param {Builder} builder
 * @param {Config} config
 * @param {EventField[]} fields
 * @param {{ by?: string[], cells?: Cell[] }} change
 * @returns {Config}
 */
export function configWith(
  builder,
  config,
  fields,
  { by = config.by ?? [], cells = cellsOf(config) },
) {
  const { by: _, cells: __, types: before = {}, ...others } = config;
  /** @type {{ of: string, taken: Taken | undefined }[]} */
  const used = [
    ...by.map((of) => ({ of, taken: builder.keys })),
    ...cells.map(({ how, of }) => ({ of, taken: builder.cells[how]?.of })),
  ];
  /** @type {Record<string, any>} */
  const types = {};
  for (const { of, taken } of used.filter((one) => one.of.startsWith('/'))) {
    const field = fields.find((one) => columnOf(builder, one) === of);
    const type = field ? typeFor(taken?.read_as, field) : before[of];
    if (type !== undefined) types[of] = type;
  }
  return {
    ...(by.length > 0 ? { by } : {}),
    ...(cells.length > 0
      ? {
          cells: Object.fromEntries(
            cells.map(({ name, how, of }) => [name, of === '' ? how : { [how]: of }]),
          ),
        }
      : {}),
    ...(Object.keys(types).length > 0 ? { types } : {}),
    ...others,
  };
}

/** What must be said of a field that is read so. @param {any} usual @param {EventField} field */
function typeFor(usual, { as }) {
  const fits =
    typeof usual === 'object' && isNumber(as)
      ? typeof as !== 'object' || as.decimal <= usual.decimal
      : as === usual;
  return fits ? undefined : as;
}

/**
 * What of a configuration is no choice of fields: drawn as a form.
 * @param {Builder} builder @param {EventField[]} fields @returns {Schema}
 */
export function settings({ schema: root }, fields) {
  const schema = resolve(root, root);
  const rest = Object.entries(schema.properties ?? {}).filter(([key]) => !CHOSEN.includes(key));
  const properties = rest.map(([key, part]) => {
    const field = fields.find(
      ({ mapped }) => mapped && mapped === columnIn(/** @type {any} */ (part))?.values_of,
    );
    const seen =
      field && field.examples.length > 0 ? ` Seen lately: ${field.examples.join(', ')}.` : '';
    return [
      key,
      seen
        ? {
            .../** @type {any} */ (part),
            description: `${/** @type {any} */ (part).description ?? ''}${seen}`,
          }
        : part,
    ];
  });
  return { ...schema, properties: Object.fromEntries(properties) };
}

/** @param {string} key */
function tomlKey(key) {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : tomlText(key);
}

/** What is not seen is written as its number. @param {string} text */
function tomlText(text) {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** @param {any} value @returns {string} */
function tomlValue(value) {
  if (typeof value === 'string') return tomlText(value);
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(', ')}]`;
  if (value === null || typeof value !== 'object') return String(value);
  const members = Object.entries(value).map(([key, one]) => `${tomlKey(key)} = ${tomlValue(one)}`);
  return members.length > 0 ? `{ ${members.join(', ')} }` : '{}';
}

/**
 * The section as it is written into a configuration file.
 * @param {string} name @param {{ config?: Config, [key: string]: any }} section
 */
export function toml(name, { config = {}, ...others }) {
  const lines = [
    ...Object.entries(others).map(([key, value]) => `${tomlKey(key)} = ${tomlValue(value)}`),
    ...Object.entries(config).map(([key, value]) => `config.${tomlKey(key)} = ${tomlValue(value)}`),
  ];
  return `[metrics.${tomlKey(name)}]\n${lines.join('\n')}\n`;
}
