// Reads JSON without changing its numbers: one that no number of the page can hold becomes the text
// that stands there, or what is wished for in its place.

/** What may be such a number: nothing else is looked at twice. */
const SUSPECT = /(?<![.\d])\d{16}|\de\+?\d{3}/i;
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;

/** Whether a number that stands so is another one once it is read. @param {string} source */
function changes(source) {
  const value = Number(source);
  return (
    !Number.isFinite(value) ||
    (/^-?\d+$/.test(source) && !Number.isSafeInteger(value) && String(value) !== source)
  );
}

/**
 * Throws where the text is no JSON.
 * @param {string} text @param {(source: string) => string} [instead] of a number that would change
 * @returns {any}
 */
export function parse(text, instead = (source) => source) {
  const value = JSON.parse(text);
  if (!SUSPECT.test(text)) return value;
  return JSON.parse(
    text.replace(TOKENS, (token) =>
      token[0] !== '"' && changes(token) ? JSON.stringify(instead(token)) : token,
    ),
  );
}
