// The order of values in a column: numbers by size, also those that are texts of decimals; other
// texts as people read them; what is empty last, whichever way.

import { isNumeric } from './format.js';

/** @param {any} value */
const isEmpty = (value) => value === undefined || value === null || value === '';

/** @param {any} a @param {any} b @param {1 | -1} [way] */
export function order(a, b, way = 1) {
  if (a === b) return 0;
  if (isEmpty(a) || isEmpty(b)) return Number(isEmpty(a)) - Number(isEmpty(b));
  if (isNumeric(a) && isNumeric(b)) return way * (Number(a) - Number(b));
  return way * String(a).localeCompare(String(b), undefined, { numeric: true });
}
