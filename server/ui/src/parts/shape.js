// Shapes of keys, so that lines are told apart without colours: each colour has its own.

import { colourName } from './colour.js';

/** Paths in a square of 10, in the order of the colours. */
const SHAPES = [
  'M1 1h8v8H1z',
  'M5 .5a4.5 4.5 0 1 0 .1 0z',
  'M5 .5 9.8 9H.2z',
  'M5 0 10 5 5 10 0 5z',
  'M.2 1h9.6L5 9.5z',
  'M3.3.5h3.4v2.8h2.8v3.4H6.7v2.8H3.3V6.7H.5V3.3h2.8z',
  'M0 3h10v4H0z',
  'M3 0h4v10H3z',
];

/** The path of a key's shape. @param {string} key */
export function shape(key) {
  return SHAPES[Number(colourName(key).slice(-1)) - 1];
}
