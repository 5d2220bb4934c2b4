// Colours of keys, such as types of events: one key has one colour on the whole page.
//
// A key's text chooses its colour, so that it is the same tomorrow and on another screen. Only of
// keys that are first seen together (`seen`), those whose colour is taken among them get another. A
// colour is never the only sign: the key's text is beside it.

/** Colours of keys; one more is of what has no key. */
const COUNT = 7;
/** Keys beyond these are not remembered: their text alone chooses. */
const MOST = 512;

/** @type {Map<string, number>} */
const known = new Map();

/** @param {string} key */
function chosen(key) {
  // From this seed on, usual words of shops differ.
  let hash = 28;
  for (let at = 0; at < key.length; at += 1) hash = Math.imul(hash ^ key.charCodeAt(at), 33);
  return (hash >>> 0) % COUNT;
}

/**
 * Gives colours to keys that are seen together.
 * @param {Iterable<string>} keys
 */
export function seen(keys) {
  const all = [...keys];
  const taken = new Set(all.map((key) => known.get(key)));
  for (const key of all.filter((one) => one && !known.has(one)).sort()) {
    if (known.size >= MOST) return;
    let own = chosen(key);
    for (let tries = 1; tries < COUNT && taken.has(own); tries += 1) own = (own + 1) % COUNT;
    known.set(key, own);
    taken.add(own);
  }
}

/** The custom property of a key's colour. @param {string} key */
export function colourName(key) {
  return `--c${(key ? (known.get(key) ?? chosen(key)) : COUNT) + 1}`;
}

/** For `style`. @param {string} key */
export function colour(key) {
  return `var(${colourName(key)})`;
}
