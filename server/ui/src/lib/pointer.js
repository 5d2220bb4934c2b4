// JSON pointers (RFC 6901): read, write, extend.
//
// Nothing here throws on a pointer that leads nowhere: it is `undefined`.

/** @param {string | number} key */
function escape(key) {
  return String(key).replaceAll('~', '~0').replaceAll('/', '~1');
}

/**
 * The keys of a pointer; none for what is no pointer.
 * @param {string} pointer
 * @returns {string[]}
 */
export function keysOf(pointer) {
  if (!pointer.startsWith('/')) return [];
  return pointer
    .slice(1)
    .split('/')
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** @param {string} pointer @param {(string | number)[]} keys */
export function below(pointer, ...keys) {
  return keys.reduce((/** @type {string} */ all, key) => `${all}/${escape(key)}`, pointer);
}

/**
 * What is at a pointer; own members only.
 * @param {any} value
 * @param {string} pointer
 */
export function read(value, pointer) {
  let here = value;
  for (const key of keysOf(pointer)) {
    if (here === null || typeof here !== 'object' || !Object.hasOwn(here, key)) return undefined;
    here = here[key];
  }
  return here;
}

/**
 * A copy in which another value, or none, is at the pointer. What is not there yet is made.
 * @param {any} value
 * @param {string} pointer
 * @param {any} next `undefined` takes the member away
 * @returns {any}
 */
export function write(value, pointer, next) {
  const [key, ...rest] = keysOf(pointer);
  if (key === undefined) return next;
  const list = Array.isArray(value) ? [...value] : undefined;
  /** @type {Record<string, any>} */
  const copy = list
    ? /** @type {any} */ (list)
    : value !== null && typeof value === 'object'
      ? { ...value }
      : {};
  const inner = Object.hasOwn(copy, key) ? copy[key] : undefined;
  const made =
    rest.length === 0 ? next : write(inner, rest.map((part) => `/${escape(part)}`).join(''), next);
  if (made !== undefined)
    Object.defineProperty(copy, key, {
      value: made,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  else if (list) list.splice(Number(key), 1);
  else delete copy[key];
  return copy;
}
