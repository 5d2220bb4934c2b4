// A time: typed as the server reads it, or picked with the browser's own control in the chosen
// zone.

import { html } from '../html.js';
import { fmt, zone } from '../data/settings.js';
import { millis } from '../lib/format.js';
import { localOf, momentOf } from '../lib/zone.js';
import { Presets } from './actions.js';

/** @type {[string, number][]} */
const PRESETS = [
  ['now', 0],
  ['−1 h', 3_600_000],
  ['−24 h', 86_400_000],
  ['−7 d', 7 * 86_400_000],
];

/** @param {{ text: string, set: (text: string) => void, tie: Record<string, any> }} props */
export function TimeField({ text, set, tie }) {
  const time = millis(/^-?[0-9]+$/.test(text) ? Number(text) : text);
  const pick = (/** @type {any} */ event) => {
    const moment = momentOf(event.currentTarget.value, zone.value);
    set(moment === undefined ? '' : new Date(moment).toISOString());
  };
  return html`<div class="stack">
    <div class="two-ways">
      <input
        ...${tie}
        type="text"
        value=${text}
        placeholder="2026-01-01T00:00:00Z"
        autocomplete="off"
        spellcheck="false"
        onInput=${(/** @type {any} */ event) => set(event.currentTarget.value)}
      />
      <input
        type="datetime-local"
        step="1"
        aria-label=${`pick a time in ${zone.value}`}
        title=${`in ${zone.value}`}
        value=${time === undefined ? '' : localOf(time, zone.value)}
        onChange=${pick}
      />
    </div>
    <${Presets}
      options=${PRESETS.map(([value]) => ({ value }))}
      onChange=${(/** @type {string} */ name) =>
        set(new Date(Date.now() - (new Map(PRESETS).get(name) ?? 0)).toISOString())}
    >
      ${
        time === undefined
          ? null
          : html`<span class="help">${fmt.value.dateTime(time)} ${zone.value}</span>`
      }
    <//>
  </div>`;
}
