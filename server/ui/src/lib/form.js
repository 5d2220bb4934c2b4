// A form from a schema of params: its fields, what is typed in them, and the params it makes.
//
// What is typed stays text until it is read, so that a half-written number is not lost. A field
// that is left empty is absent from the params. What a field cannot express is edited as JSON. The
// server judges; here only what cannot be read as its type is a fault.

import { titleOf } from './format.js';
import { parse } from './json.js';
import { below, keysOf, write } from './pointer.js';
import { resolve, typesOf } from './schema.js';

/** @import {Fault, Field, Json, Params, Schema, Texts} from '../types' */

/** Deepest nesting that has fields of its own. */
const DEEPEST = 6;

/** Of the params that every metric with a time axis has: those that state a range. */
const RANGE_KEYS = ['window', 'from', 'to'];
/** All of them; they are shown together, last. */
const TIME_KEYS = ['window', 'from', 'to', 'bucket', 'tz', 'compare', 'whole', 'event_types'];

/** @param {Schema} schema @returns {Json[] | undefined} */
function optionsOf(schema) {
  if (Array.isArray(schema.enum)) return schema.enum.filter((one) => one !== null);
  if (schema.const !== undefined) return [schema.const];
  const choices = schema.oneOf ?? schema.anyOf;
  const each = Array.isArray(choices)
    ? choices.map((one) => (one?.const !== undefined ? [one.const] : one?.enum))
    : [];
  return each.length > 0 && each.every(Array.isArray) ? each.flat() : undefined;
}

/** A time: a text of that format, or that or an integer. @param {Schema} schema */
function isTime(schema) {
  if (schema.format === 'date-time') return true;
  return (
    Array.isArray(schema.anyOf) &&
    schema.anyOf.some((/** @type {any} */ one) => one?.format === 'date-time')
  );
}

/**
 * `oneOf` of texts (an enum with a comment for each value) is kept by `resolve` only where it is
 * the one alternative.
 * @param {any} schema @param {Schema} root @returns {Schema}
 */
function known(schema, root) {
  const found = resolve(schema, root);
  return schema?.oneOf && !optionsOf(found) && optionsOf(schema)
    ? { ...found, oneOf: schema.oneOf }
    : found;
}

/** @param {Schema} schema @param {string} key @returns {Field['kind']} */
function kindOf(schema, key) {
  const types = typesOf(schema);
  if (schema['x-tally-id']) return 'id';
  if (optionsOf(schema)) return 'enum';
  if (isTime(schema)) return 'time';
  if (key === 'window' && types.includes('string')) return 'window';
  if (types.length !== 1) return 'json';
  const [type] = types;
  if (type === 'integer' || type === 'number' || type === 'boolean') return type;
  if (type === 'string') return 'text';
  if (type === 'array') return 'list';
  if (type === 'object')
    return schema.properties ? 'object' : schema.additionalProperties ? 'map' : 'json';
  return 'json';
}

/**
 * @param {string} key @param {any} schema @param {Schema} root @param {string} pointer
 * @param {boolean} required @param {number} depth @returns {Field}
 */
function field(key, schema, root, pointer, required, depth) {
  const own = known(schema, root);
  const kind = depth >= DEEPEST ? 'json' : kindOf(own, key);
  /** @type {Field} */
  const made = {
    pointer,
    key,
    kind,
    required,
    label: typeof own.title === 'string' ? own.title : titleOf(key),
    help: typeof own.description === 'string' ? own.description : '',
    default: own.default,
    examples: Array.isArray(own.examples) ? own.examples : [],
    min: own.minimum ?? own.exclusiveMinimum,
    max: own.maximum ?? own.exclusiveMaximum,
    step: own.multipleOf,
    pattern: own.pattern,
    minLength: own.minLength,
    maxLength: own.maxLength,
    minItems: own.minItems ?? own.minProperties,
    maxItems: own.maxItems ?? own.maxProperties,
  };
  if (kind === 'enum') made.options = optionsOf(own);
  if (kind === 'id') made.idKind = own['x-tally-id'];
  if (kind === 'list')
    made.item = field(key, own.items ?? {}, root, below(pointer, '-'), true, depth + 1);
  if (kind === 'map')
    made.item = field(
      'value',
      own.additionalProperties === true ? {} : own.additionalProperties,
      root,
      below(pointer, '-'),
      true,
      depth + 1,
    );
  if (kind === 'object') made.fields = members(own, root, pointer, depth + 1);
  return made;
}

/**
 * @param {Schema} schema
 * @param {Schema} root
 * @param {string} at
 * @param {number} depth
 * @returns {Field[]}
 */
function members(schema, root, at, depth) {
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const all = Object.entries(schema.properties ?? {});
  return all.map(([key, part]) => field(key, part, root, below(at, key), required.has(key), depth));
}

/**
 * The fields of a schema of params: required ones first, those of time last.
 * @param {Schema} schema
 * @returns {Field[]}
 */
export function fields(schema) {
  const root = schema ?? {};
  const all = members(resolve(root, root), root, '', 0);
  /** @param {Field} one */
  const rank = (one) =>
    one.required ? 0 : TIME_KEYS.includes(one.key) ? 2 + TIME_KEYS.indexOf(one.key) : 1;
  return all.sort((a, b) => rank(a) - rank(b));
}

/**
 * The fields by where they stand: what must be filled in, the range of time with its steps, and the
 * others.
 * @param {Field[]} all as `fields` makes them
 */
export function grouped(all) {
  const time = all.filter(
    (one) => ['window', 'time'].includes(one.kind) && RANGE_KEYS.includes(one.key) && !one.required,
  );
  const range = time.some((one) => one.key === 'window') ? time : [];
  const first = all.filter((one) => one.required);
  const step = all.filter((one) => one.key === 'bucket' && !one.required);
  return {
    first,
    range,
    step,
    more: all.filter((one) => ![first, range, step].some((group) => group.includes(one))),
  };
}

/** What stands in an empty field. @param {Field} of @returns {Texts} */
export function blank(of) {
  if (of.kind === 'list' || of.kind === 'map') return [];
  if (of.kind === 'object')
    return Object.fromEntries((of.fields ?? []).map((one) => [one.key, blank(one)]));
  return '';
}

/** @param {Field} of @param {any} value @returns {Texts} */
function textOf(of, value) {
  if (value === undefined || value === null) return blank(of);
  const { item } = of;
  if (of.kind === 'list' && item && Array.isArray(value))
    return value.map((one) => textOf(item, one));
  if (of.kind === 'map' && item && typeof value === 'object') {
    return Object.entries(value).map(([key, one]) => ({ key, value: textOf(item, one) }));
  }
  if (of.kind === 'object' && typeof value === 'object') return texts(of.fields ?? [], value);
  if (of.kind === 'json' || of.kind === 'enum' || typeof value === 'object') {
    return typeof value === 'string' && of.kind === 'enum' ? value : JSON.stringify(value);
  }
  return String(value);
}

/**
 * What the form shows for params. A member that no field has is not shown, and not lost: see
 * `params`.
 * @param {Field[]} all
 * @param {Params} values
 * @returns {{ [key: string]: Texts }}
 */
export function texts(all, values) {
  return Object.fromEntries(all.map((one) => [one.key, textOf(one, values?.[one.key])]));
}

/** "7" and 7 are one id. @param {string} text @returns {number | string} */
export function idOf(text) {
  const number = Number(text);
  return /^(0|[1-9][0-9]{0,15})$/.test(text) && Number.isSafeInteger(number) ? number : text;
}

/** Whole numbers beyond it would become other ones. */
const LARGEST = Number.MAX_SAFE_INTEGER;

/** With a point or a comma. @param {string} text @returns {number | Error} */
function numberOf(text) {
  if (/^[+-]?[1-9]\d*,\d{3}$/.test(text)) return new Error('not clear: write 1500 or 1.5');
  const number = Number(text.replace(',', '.'));
  if (!/^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i.test(text) || !Number.isFinite(number))
    return new Error('not a number');
  return /^[+-]?\d+$/.test(text) && !Number.isSafeInteger(number)
    ? new Error(`not exact here beyond ${LARGEST}`)
    : number;
}

/**
 * @param {Field} of
 * @param {string} text
 * @returns {any} what is wrong, as an Error, or the value
 */
function scalar(of, text) {
  switch (of.kind) {
    case 'integer':
    case 'number':
      return numberOf(text.trim());
    case 'boolean':
      return text === 'true';
    case 'id':
      return idOf(text.trim());
    case 'time':
      return /^-?[0-9]{5,16}$/.test(text) && Number.isSafeInteger(Number(text))
        ? Number(text)
        : text;
    case 'enum':
      return (
        of.options?.find(
          (option) => (typeof option === 'string' ? option : JSON.stringify(option)) === text,
        ) ?? text
      );
    case 'json':
      try {
        return parse(text, (number) => {
          throw new RangeError(`${number} is not exact here: write it as a text`);
        });
      } catch (error) {
        return error instanceof RangeError ? error : new Error('not JSON: texts need quotes');
      }
    default:
      return text;
  }
}

/**
 * @param {Field} of @param {Texts | undefined} text @param {Fault[]} faults @param {string} pointer
 * @returns {any} `undefined`: absent
 */
function valueOf(of, text, faults, pointer) {
  if (typeof text === 'string') {
    if (text.trim() === '') return undefined;
    const value = scalar(of, text);
    if (!(value instanceof Error)) return value;
    faults.push({ pointer, detail: value.message });
    return undefined;
  }
  if (Array.isArray(text) && of.item) {
    const { item } = of;
    if (of.kind === 'map') return mapOf(item, text, faults, pointer);
    const values = text.map((one, at) => valueOf(item, one, faults, below(pointer, at)));
    const kept = values.filter((value) => value !== undefined);
    return kept.length > 0 ? kept : undefined;
  }
  if (of.kind === 'object' && text && !Array.isArray(text)) {
    const made = read(of.fields ?? [], text, faults, pointer);
    return Object.keys(made).length > 0 || of.required ? made : undefined;
  }
  return undefined;
}

/** @param {Field} item @param {Texts[]} rows @param {Fault[]} faults @param {string} pointer */
function mapOf(item, rows, faults, pointer) {
  /** @type {[string, any][]} */
  const entries = [];
  for (const row of rows) {
    const { key, value } = /** @type {{key: string, value: Texts}} */ (row);
    const read = key === '' ? undefined : valueOf(item, value, faults, below(pointer, key));
    if (read !== undefined) entries.push([key, read]);
  }
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}

/**
 * @param {Field[]} all
 * @param {{ [key: string]: Texts }} typed
 * @param {Fault[]} faults
 * @param {string} at
 * @returns {Params}
 */
function read(all, typed, faults, at) {
  /** @type {[string, any][]} */
  const entries = [];
  for (const one of all) {
    const pointer = below(at, one.key);
    const value = valueOf(one, typed?.[one.key], faults, pointer);
    if (value !== undefined) entries.push([one.key, value]);
  }
  return Object.fromEntries(entries);
}

/**
 * The params that the texts mean, and what cannot be read. `rest` are params that no field shows;
 * they are kept.
 * @param {Field[]} all @param {{ [key: string]: Texts }} typed @param {Params} [rest]
 * @returns {{ params: Params, faults: Fault[] }}
 */
export function params(all, typed, rest = {}) {
  /** @type {Fault[]} */
  const faults = [];
  const shown = new Set(all.map((one) => one.key));
  const kept = Object.entries(rest).filter(([key]) => !shown.has(key));
  return { params: { ...read(all, typed, faults, ''), ...Object.fromEntries(kept) }, faults };
}

/**
 * The faults of a 422 by field: each goes to the deepest field that its pointer leads to, what
 * leads to none is in `rest`.
 * @param {Field[]} all
 * @param {Fault[]} faults pointers begin with `/params` or with a field
 * @returns {{ at: Record<string, string[]>, rest: Fault[] }} `at` by the pointer of what is typed
 */
export function placed(all, faults) {
  /** @type {Record<string, string[]>} */
  const at = {};
  /** @type {Fault[]} */
  const rest = [];
  for (const fault of faults) {
    const keys = keysOf(fault.pointer);
    const own = keys[0] === 'params' ? keys.slice(1) : keys;
    const pointer = deepest(all, own);
    if (pointer === '') rest.push(fault);
    else (at[pointer] ??= []).push(fault.detail);
  }
  return { at, rest };
}

/** @param {Field[]} all @param {string[]} keys @returns {string} */
function deepest(all, keys) {
  let pointer = '';
  /** @type {Field | undefined} */
  let here;
  for (const key of keys) {
    /** @type {Field | undefined} */
    const next = here
      ? here.kind === 'object'
        ? here.fields?.find((one) => one.key === key)
        : here.item
      : all.find((one) => one.key === key);
    if (!next) break;
    pointer = below(pointer, key);
    here = next;
  }
  return pointer;
}

/** Required fields in which nothing is typed. @param {Field[]} all @param {Params} values */
export function missing(all, values) {
  return all.filter((one) => one.required && values?.[one.key] === undefined);
}

/**
 * A copy of what is typed with another text at a pointer. @template {Texts} T
 * @param {T} typed @param {string} pointer @param {Texts | undefined} next @returns {T}
 */
export function typedAt(typed, pointer, next) {
  return write(typed, pointer, next);
}
