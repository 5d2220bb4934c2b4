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
  return { view: view || 'overview', path: path.filter(Boolean), query: Object.fromEntries(new URLSearchParams(query)) };
}

/**
 * The address of a view. What is absent or empty is not in it.
 * @param {string} view @param {(string | number)[]} [path] @param {Record<string, string | number | boolean | undefined | null>} [query]
 */
export function href(view, path = [], query = {}) {
  const where = view === 'overview' && path.length === 0 ? '' : [view, ...path].map((part) => encodeURIComponent(part)).join('/');
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false);
  const search = new URLSearchParams(given.map(([key, value]) => [key, value === true ? '1' : String(value)])).toString();
  return `#/${where}${search ? `?${search}` : ''}`;
}

export const route = signal(parse(location.hash));

/** Goes to an address; `replace` leaves no step to go back to. @param {string} to @param {{ replace?: boolean }} [how] */
export function go(to, { replace = false } = {}) {
  if (to === location.hash) return;
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  route.value = parse(to);
}

/** The same view with other parts of its query. @param {Record<string, string | number | boolean | undefined | null>} query @param {{ replace?: boolean }} [how] */
export function withQuery(query, how = { replace: true }) {
  const { view, path, query: before } = route.peek();
  go(href(view, path, { ...before, ...query }), how);
}

const follow = () => {
  route.value = parse(location.hash);
};
window.addEventListener('hashchange', follow);
window.addEventListener('popstate', follow);
