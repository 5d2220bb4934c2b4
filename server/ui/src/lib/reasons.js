// What it means that a record is no event, and what to do: by the server's words for reasons.

const CORRECT = ' Correct the producer.';

/** By the word before `:`. @type {Record<string, string>} */
const REASONS = {
  empty_payload: 'No bytes: a tombstone. Nothing to do where the topic has tombstones.',
  payload_too_large: 'More than 64 KiB. Send less: only declared fields are read.',
  invalid_utf8: `Not UTF-8.${CORRECT}`,
  invalid_json: `Not JSON.${CORRECT}`,
  trailing_data: `More than one JSON value.${CORRECT}`,
  too_deep: 'Deeper than 32 levels. Flatten it.',
  not_an_object: `JSON, but no object.${CORRECT}`,
  duplicate_field: `A mapped field is there twice.${CORRECT}`,
  missing_field:
    'The field is absent. Send it, map it in [events.fields], or take it off [events] required.',
  wrong_type: `A value of a type that the field cannot have.${CORRECT}`,
  id_out_of_range:
    'An id that is negative, 2⁵³ or more, too long, or reserved. Send a text of at most 64 bytes.',
  event_type_invalid: 'Not lower case letters, digits and _. Rename it in [events.aliases].',
  event_id_invalid: `Empty, longer than 64 bytes, or with control characters.${CORRECT}`,
  timestamp_invalid: 'No time that can be right. Send RFC 3339 with a zone, or Unix milliseconds.',
  timestamp_too_early: `Before [events] earliest; often seconds instead of milliseconds.${CORRECT}`,
  timestamp_in_future:
    'Too far ahead of the record’s own time. Set the clock, or raise [events] max_ahead.',
  plugin_failed:
    'The code of this metric failed on it; it counts in all others. A corrected plugin counts it.',
  internal_error: 'The engine’s own code failed on it. Please report it, with the record.',
};

/**
 * @param {string} reason
 * @returns {{ text: string, of: string, replayable: boolean }} `of`: the field or the metric.
 *   Replayed are verdicts on records, not failures of code
 */
export function explain(reason) {
  const [word, of = ''] = reason.split(/:(.*)/s);
  const text = Object.hasOwn(REASONS, word) ? REASONS[word] : '';
  return {
    text: text || 'This page does not know this reason.',
    of,
    replayable: text !== '' && word !== 'plugin_failed' && word !== 'internal_error',
  };
}
