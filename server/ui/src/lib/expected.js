// What an answer of the server has, by what was asked: something else that answers in its place is
// found out before it is drawn.
//
// Knows only the members without which a view cannot be drawn. Newer and older servers may have
// others.

/** By method and path, in which `*` is a name: members, by what kind they are of. */
const MEMBERS = /** @type {Record<string, Record<string, any>>} */ ({
  'GET api/metrics': { metrics: [], rejected: [] },
  'GET api/metrics/*': { versions: [] },
  'POST api/metrics': { meta: {} },
  'POST api/preview': { meta: {} },
  'GET api/status': { version: '' },
  'GET api/events': { items: [] },
  'GET api/records/*': { verdict: {} },
  'GET api/dead-letters': { items: [], counts: {} },
  'GET api/plugins': { plugins: [] },
  'GET api/fields': { fields: [] },
  'GET api/sections': { sections: [] },
  'GET api/boards': { boards: [] },
  'GET api/users': { items: [] },
  'GET api/product': { items: [] },
  'GET problems': { problems: [] },
});

/** @param {any} value */
const kind = (value) => (Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value);

/**
 * What keeps an answer from being one to a request; `undefined` where it may be one.
 * @param {string} path @param {string | undefined} method @param {any} data
 * @returns {string | undefined}
 */
export function missingIn(path, method = 'GET', data) {
  if (kind(data) !== 'object') return 'no object of JSON';
  const asked = path.replace(/\?.*/, '').replace(/^(api\/[^/]+\/).*/, '$1*');
  return Object.entries(MEMBERS[`${method} ${asked}`] ?? {})
    .filter(([key, like]) => kind(data[key]) !== kind(like))
    .map(([key]) => `no ${key}`)[0];
}
