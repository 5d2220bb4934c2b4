// The address of a view: `#/view/part?key=value` as a value, and back.
//
// Everything that a view shows is in its address, so that it can be shared, kept and gone back to.

import { signal } from '@preact/signals';

/** @typedef {{ view: string, path: string[], query: Record<string, string> }} Route */

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** @param {string} hash @returns {Route} */
export function parse(hash) {
  const [where, query = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  const [view = '', ...path] = where.split('/').map(decoded);
  return {
    view: view || 'overview',
    path: path.filter(Boolean),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/**
 * The address of a view. What is absent or empty is not in it.
 * @param {string} view
 * @param {(string | number)[]} [path]
 * @param {Record<string, string | number | boolean | undefined | null>} [query]
 */
export function href(view, path = [], query = {}) {
  const where =
    view === 'overview' && path.length === 0
      ? ''
      : [view, ...path].map((part) => encodeURIComponent(part)).join('/');
  const given = Object.entries(query).filter(
    ([, value]) => value !== undefined && value !== null && value !== '' && value !== false,
  );
  const search = new URLSearchParams(
    given.map(([key, value]) => [key, value === true ? '1' : String(value)]),
  ).toString();
  return `#/${where}${search ? `?${search}` : ''}`;
}

export const route = signal(parse(location.hash));

/** Browsers allow so few changes of an address: one in that time. */
const PACE_MS = 350;
/** What the address bar does not have yet. @type {string | undefined} */
let waiting;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let written = -PACE_MS;

/** Writes what waits into the address bar. */
function flush() {
  clearTimeout(timer);
  if (waiting !== undefined) history.replaceState(null, '', waiting);
  waiting = undefined;
  written = performance.now();
}

/**
 * Goes to an address; `replace` leaves no step to go back to, and reaches the address bar a little
 * later where many come, as when somebody types.
 * @param {string} to
 * @param {{ replace?: boolean }} [how]
 */
export function go(to, { replace = false } = {}) {
  if (to === (waiting ?? location.hash)) return;
  if (replace) {
    clearTimeout(timer);
    waiting = to;
    const wait = written + PACE_MS - performance.now();
    if (wait > 0) timer = setTimeout(flush, wait);
    else flush();
  } else {
    flush();
    history.pushState(null, '', to);
  }
  route.value = parse(to);
}

/**
 * The same view with other parts of its query.
 * @param {Record<string, string | number | boolean | undefined | null>} query
 * @param {{ replace?: boolean }} [how]
 */
export function withQuery(query, how = { replace: true }) {
  const { view, path, query: before } = route.peek();
  go(href(view, path, { ...before, ...query }), how);
}

const follow = () => {
  clearTimeout(timer);
  waiting = undefined;
  route.value = parse(location.hash);
};
window.addEventListener('hashchange', follow);
window.addEventListener('popstate', follow);
window.addEventListener('pagehide', flush);
