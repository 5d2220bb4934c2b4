// The range of time that is asked for: a window of those that are common, or one of one's own:
// another length, or a start and an end.

import { useEffect, useId, useState } from 'preact/hooks';
import { html } from '../html.js';
import { windowTitle } from '../lib/format.js';
import { Presets } from '../parts/actions.js';
import { Fields, WINDOWS } from '../parts/fields.js';

/** @import {Field, Texts} from '../types' */

/**
 * @param {object} props
 * @param {Field[]} props.fields `window`, and what of `from` and `to` there is
 * @param {{ [key: string]: Texts }} props.typed
 * @param {Record<string, string[]>} props.faults by pointer
 * @param {(typed: { [key: string]: Texts }) => void} props.onChange
 */
export function RangeField({ fields, typed, faults, onChange }) {
  const id = useId();
  const { window: length } = typed;
  const dates = fields.some(({ key }) => key !== 'window' && typed[key]);
  const usual = fields.find(({ key }) => key === 'window')?.default;
  const own =
    dates ||
    (Boolean(length) && !WINDOWS.includes(String(length))) ||
    fields.some(({ pointer }) => faults[pointer]);
  const [open, setOpen] = useState(own);
  useEffect(() => {
    if (own) setOpen(true);
  }, [own]);
  const shown = open || own;
  const chosen = shown ? undefined : length || usual;
  /** @param {string} to */
  const choose = (to) => {
    setOpen(false);
    onChange({ ...typed, ...Object.fromEntries(fields.map(({ key }) => [key, ''])), window: to });
  };
  // The window is a text among others here: its presets stand above.
  const inputs = fields.map((field) =>
    field.key === 'window'
      ? {
          ...field,
          kind: /** @type {const} */ ('text'),
          label: 'length',
          help: 'For example 90m or 3d.',
          default: undefined,
        }
      : field,
  );
  return html`<div class="field">
    <span class="label" id=${id}>
      window${
        usual === undefined || usual === null
          ? null
          : html`<span class="default">default ${usual}</span>`
      }
    </span>
    <${Presets}
      class="range-ways"
      label=${id}
      value=${chosen ?? ''}
      options=${WINDOWS.map((one) => ({ value: one, help: windowTitle(one) }))}
      onChange=${choose}
    >
      <button
        type="button"
        aria-expanded=${shown}
        aria-pressed=${shown}
        onClick=${() => setOpen(!shown)}
      >
        custom
      </button>
    <//>
    ${
      shown
        ? html`<div class="range-own">
            <${Fields} fields=${inputs} typed=${typed} faults=${faults} onChange=${onChange} />
          </div>`
        : null
    }
  </div>`;
}
