// Users and products: found by a part of their name or by id, and names by id.
//
// The catalogue has pages and no search, so at most `PAGES` pages are read, once, and searched
// here; an id is asked for itself. What was read is kept for a minute, names at most `KEPT`.

import { get, Problem } from './api.js';
import { idOf } from '../lib/form.js';

/** @import {IdKind} from '../types' */

const PAGES = 5;
const PAGE = 1000;
const KEPT = 5000;
const FRESH_MS = 60_000;
const SHOWN = 20;

/** @typedef {{ id: number | string, name: string }} Named */

const ROUTES = { user: 'api/users', product: 'api/product' };

/** @type {Map<string, { at: number, rows: Promise<{ rows: Named[], whole: boolean }> }>} */
const lists = new Map();
/** The oldest first. @type {Map<string, { at: number, name: Promise<string | undefined> }>} */
const byId = new Map();

/** @param {IdKind} kind @param {any} row @returns {Named} */
function named(kind, row) {
  return { id: row[`${kind}_id`], name: String(row[`${kind}_name`] ?? '') };
}

/** @param {IdKind} kind */
async function readList(kind) {
  /** @type {Named[]} */
  const rows = [];
  let next = '';
  for (let page = 0; page < PAGES; page += 1) {
    const query = new URLSearchParams({ limit: String(PAGE), ...(next ? { cursor: next } : {}) });
    const found = await get(`${ROUTES[kind]}?${query}`);
    for (const row of found.items) rows.push(named(kind, row));
    next = found.next ?? '';
    if (!next) break;
  }
  return { rows, whole: !next };
}

/** @param {IdKind} kind */
function list(kind) {
  const known = lists.get(kind);
  if (known && performance.now() - known.at < FRESH_MS) return known.rows;
  const rows = readList(kind);
  rows.catch(() => lists.delete(kind));
  lists.set(kind, { at: performance.now(), rows });
  return rows;
}

/**
 * Users or products whose name or id has the text in it; `left` says what may be left out of them:
 * where more suit than are shown, or the catalogue is larger than what was searched.
 * @param {IdKind} kind @param {string} text
 * @returns {Promise<{ found: Named[], left: string }>}
 */
export async function search(kind, text) {
  const sought = text.trim().toLocaleLowerCase();
  const { rows, whole } = await list(kind);
  /** @type {Named[]} */
  const found = [];
  for (const row of rows) {
    if (found.length > SHOWN) break;
    if (
      row.name.toLocaleLowerCase().includes(sought) ||
      String(row.id).toLocaleLowerCase().startsWith(sought)
    )
      found.push(row);
  }
  const exact = idOf(text.trim());
  if (!whole && sought && !found.some((row) => row.id === exact)) {
    const name = await nameOf(kind, exact);
    if (name !== undefined) found.unshift({ id: exact, name });
  }
  const left = [
    found.length > SHOWN ? `the first ${SHOWN}: type more` : '',
    whole ? '' : 'names are sought in the first 5,000; an id can be typed whole',
  ];
  return { found: found.slice(0, SHOWN), left: left.filter(Boolean).join('; ') };
}

/**
 * The name of a user or product; `undefined` where the catalogue does not know it or does not
 * answer.
 * @param {IdKind} kind @param {number | string} id
 * @returns {Promise<string | undefined>}
 */
export function nameOf(kind, id) {
  const key = `${kind} ${id}`;
  const known = byId.get(key);
  if (known && performance.now() - known.at < FRESH_MS) return known.name;
  byId.delete(key);
  if (byId.size >= KEPT) byId.delete(byId.keys().next().value ?? '');
  const name = get(`${ROUTES[kind]}/${encodeURIComponent(id)}`).then(
    (row) => named(kind, row).name,
    (error) => {
      if (!(error instanceof Problem && error.status === 404)) byId.delete(key);
      return undefined;
    },
  );
  byId.set(key, { at: performance.now(), name });
  return name;
}
