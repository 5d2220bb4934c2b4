// Bytes of a stranger in a box: as text, or in hex where they are no UTF-8; what is not seen is
// written out. A long one is shown in part.

import { useMemo } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { payloadOf } from '../lib/payload.js';
import { Code } from './state.js';

/** Characters of a text, bytes of others. */
const MOST = 16_384;

/** @param {{ payload: { text?: string, bytes_base64?: string }, label: string }} props */
export function Payload({ payload, label }) {
  const { kind, shown, left } = useMemo(
    () => payloadOf(payload, MOST),
    [payload.text, payload.bytes_base64],
  );
  if (shown === '')
    return html`<p class="dim">
      ${kind === 'none' ? 'deleted from the log, which is compacted' : 'no bytes'}
    </p>`;
  return html`<div class="stack payload" dir="ltr" data-payload=${kind}>
    ${
      kind === 'hex'
        ? html`<p class="small dim">not UTF-8: offset, bytes in hex, and what of them is ASCII</p>`
        : null
    }
    <${Code} text=${shown} label=${label} />
    ${
      left > 0
        ? html`<p class="small dim">
            ${fmt.value.count(left, kind === 'hex' ? 'byte' : 'character')} not shown; JSON has what
            the server keeps
          </p>`
        : null
    }
  </div>`;
}
