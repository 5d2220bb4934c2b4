// Since when an engine says nothing although an answer is due.

/** Status is asked every two seconds: it is silent that lets two turns go by. */
const QUIET_MS = 5000;

/**
 * The time of the last answer, where none has come since while one was due; else `undefined`.
 * @param {object} of
 * @param {boolean} of.connected
 * @param {number | undefined} of.at when the last answer came
 * @param {number} of.seenSince since when the page is seen: a hidden one asks nothing
 * @param {number} of.now all in Unix milliseconds
 */
export function silentSince({ connected, at, seenSince, now }) {
  const silent = connected && at !== undefined && now - Math.max(at, seenSince) > QUIET_MS;
  return silent ? at : undefined;
}
