// What is typed for a list becomes its entries.

/**
 * The entries of a text: several, where it is a list of integers as it is pasted; else one, as it
 * is, whatever is in it.
 * @param {string} text
 */
export function entriesOf(text) {
  const whole = text.trim();
  if (/^-?\d+(?:[,;\s]+-?\d+)+$/.test(whole)) return whole.split(/[,;\s]+/);
  return whole === '' ? [] : [whole];
}
