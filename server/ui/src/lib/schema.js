// What a JSON schema says once its references and its "or null" are out of the way. A reference
// that leads nowhere or in a circle ends; nothing throws.

import { read } from './pointer.js';

/** @import {Schema} from '../types' */

/** Deepest chain of references and alternatives that is followed. */
const DEEPEST = 16;

/**
 * A schema without references and without "or null".
 * @param {Schema | undefined | boolean} schema
 * @param {Schema} root
 * @returns {Schema}
 */
export function resolve(schema, root) {
  let here = schema;
  /** @type {Schema} */
  let around = {};
  for (let depth = 0; depth < DEEPEST; depth += 1) {
    if (here === null || typeof here !== 'object') return around;
    const { $ref, anyOf, oneOf, ...own } = here;
    around = { ...own, ...around };
    const choices = [anyOf, oneOf].find(Array.isArray);
    if (typeof $ref === 'string' && $ref.startsWith('#'))
      here = read(root, decodeURIComponent($ref.slice(1)));
    else if (choices) {
      const real = choices.filter((/** @type {any} */ one) => one?.type !== 'null');
      if (real.length !== 1) return { ...around, anyOf: real };
      [here] = real;
    } else return around;
  }
  return around;
}

/** The types that a schema names, without null. @param {Schema} schema @returns {string[]} */
export function typesOf(schema) {
  const types = Array.isArray(schema.type) ? schema.type : [schema.type];
  return types.filter((type) => typeof type === 'string' && type !== 'null');
}
