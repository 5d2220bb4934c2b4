// How many come a second, of a count that is looked at now and then.

/** Milliseconds that it is of; after a longer look away it begins anew. */
const OF_MS = 5000;

/** `undefined` until it has looked for a second. */
export function meter() {
  /** @type {[number, number][]} */
  let marks = [];
  return (/** @type {number} */ at, /** @type {number} */ count) => {
    if (marks.length > 0 && at - marks[marks.length - 1][0] > OF_MS) marks = [];
    marks.push([at, count]);
    while (marks.length > 2 && at - marks[1][0] >= OF_MS) marks.shift();
    const [[since, before]] = marks;
    return at - since < 1000
      ? undefined
      : Math.round(((count - before) * 10_000) / (at - since)) / 10;
  };
}
