// What a new metric would answer over the newest records, before it exists, drawn by the schema
// that the answer has with it. The last answer stays, greyed, until the next.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { pictures } from '../lib/picture.js';
import { canonical } from '../lib/question.js';
import { Card } from '../parts/card.js';
import { WholePicture } from '../parts/picture.js';
import { Failure, State, Warnings } from '../parts/state.js';
import { Time } from '../parts/values.js';

/** @import {Answer, Schema} from '../types' */

/** @typedef {Answer & { params_schema: Schema, result_schema: Schema }} Previewed */

/**
 * @param {{ found: import('../data/loaded.js').Loaded<Previewed>, ready: boolean,
 *   children?: any }} props
 */
export function Preview({ found, ready, children }) {
  const { data, problem, busy, again } = found;
  const answer = ready ? data : undefined;
  const schema = answer?.result_schema ?? {};
  const parts = useMemo(() => pictures(schema), [canonical(schema)]);
  const note = answer
    ? html`
        counted over the newest ${fmt.value.count(answer.meta.records ?? 0, 'record')}, <${Time}
          value=${answer.meta.as_of}
          as="clock"
        />
      `
    : null;
  return html`<${Card}
    class="preview"
    title="Preview"
    note=${note}
    stale=${Boolean(answer && (busy || problem))}
    tools=${html`
      <span role="status">${busy ? 'counting…' : ''}</span>
      <button type="button" disabled=${!ready} onClick=${again}>Refresh</button>
    `}
  >
    ${children}
    ${
      ready
        ? null
        : html`<${State} kind="params-missing" title="Nothing to preview yet">
            Add something to count.
          <//>`
    }
    ${problem ? html`<${Failure} problem=${problem} title="No preview" />` : null}
    ${
      answer
        ? html`
            <${WholePicture} pictures=${parts} result=${answer.result} />
            <${Warnings} warnings=${answer.warnings} />
          `
        : null
    }
  <//>`;
}
