// What follows from a new metric that is being made: a name for it, which faults are of which part,
// and what can be done with its section. Asks nothing.

import { shortOf } from './section.js';

/** @import {Fault} from '../types' */
/** @import {Config} from './section.js' */

/**
 * @typedef {{ name: string, place: 'file' | 'data_directory', shadowed?: boolean, section: any,
 *   toml: string }} Section as `api/sections` tells it
 */

/** A name for what is counted. @param {Config} config */
export function nameFor({ by = [], cells = {} }) {
  const words = [Object.keys(cells)[0] ?? 'events', ...by.map(shortOf)];
  return words
    .join('_by_')
    .toLowerCase()
    .replace(/[^a-z0-9_]+/g, '_')
    .replace(/^[^a-z]+/, '')
    .slice(0, 64);
}

/**
 * The faults below a member of a body, by pointer in that member.
 * @param {Fault[]} errors
 * @param {string} at
 */
export function faultsBelow(errors, at) {
  /** @type {Record<string, string[]>} */
  const found = {};
  for (const { pointer, detail } of errors) {
    if (pointer.startsWith(`${at}/`)) (found[pointer.slice(at.length)] ??= []).push(detail);
  }
  return found;
}

/**
 * What is there under a name, and why a section of this name cannot be added.
 * @param {string} name
 * @param {Section[]} sections
 * @param {{ state: string } | undefined} served the metric of that name
 * @returns {{ there: boolean, own: boolean,
 *   why: string }} `own`: it is in the data directory, where it can be removed
 */
export function standing(name, sections, served) {
  const section = sections.find((one) => one.name === name && !one.shadowed);
  const there = section !== undefined;
  const own = section?.place === 'data_directory';
  const why =
    name === ''
      ? 'Enter a name first.'
      : there && !own
        ? 'The configuration file has a section with this name: edit it there.'
        : served && served.state !== 'retired' && !there
          ? 'Another metric has this name.'
          : '';
  return { there, own, why };
}
