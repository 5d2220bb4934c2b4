// A form from `lib/form.js`: a control for each field, its help, its default, and its faults under
// it. What is typed is the caller's; every change is handed on whole.

import { useId, useState } from 'preact/hooks';
import { html } from '../html.js';
import { blank, typedAt } from '../lib/form.js';
import { entriesOf } from '../lib/list.js';
import { windowTitle } from '../lib/format.js';
import { below, read } from '../lib/pointer.js';
import { IdField } from './id-field.js';
import { Presets } from './actions.js';
import { Icon } from './icons.js';
import { Faults } from './state.js';
import { TimeField } from './time-field.js';
import { Prose } from './values.js';

/** @import {Field, IdKind, Texts} from '../types' */

/** Windows to choose from. */
export const WINDOWS = ['15m', '1h', '2h', '24h', '7d', '30d', 'all'];

/**
 * @typedef {(kind: IdKind, text: string) => Promise<{ found: { id: number | string,
 *   name: string }[], left: string }>} Search
 * @typedef {object} Form
 * @property {{ [key: string]: Texts }} typed
 * @property {Record<string, string[]>} faults by pointer
 * @property {(typed: { [key: string]: Texts }) => void} onChange
 * @property {Search} [search] in the catalogue; ids are typed without
 */

/**
 * The fields of a form.
 * @param {Form & { fields: Field[], at?: string }} props
 */
export function Fields({ fields, at = '', ...form }) {
  return html`<div class="fields">
    ${fields.map(
      (field) =>
        html`<${OneField}
          key=${field.pointer}
          field=${field}
          at=${below(at, field.key)}
          form=${form}
        />`,
    )}
  </div>`;
}

/** @param {{ field: Field }} props */
function Notes({ field }) {
  const given =
    field.default !== undefined && field.default !== null && field.default.length !== 0
      ? [field.default]
          .flat()
          .map((one) => JSON.stringify(one))
          .join(', ')
      : undefined;
  return html`
    ${field.required ? html`<span class="needed">required</span>` : null}
    ${given ? html`<span class="default">default ${given}</span>` : null}
  `;
}

/** @param {{ id: string, field: Field, faults: string[] }} props */
function Under({ id, field, faults }) {
  return html`
    ${
      field.help
        ? html`<p class="help" id=${`${id}-help`}><${Prose} text=${field.help} /></p>`
        : null
    }
    <${Faults} id=${`${id}-faults`} faults=${faults} />
  `;
}

/**
 * Attributes that tie a control to what is said of it.
 * @param {string} id
 * @param {Field} field
 * @param {string[]} faults
 */
function tied(id, field, faults) {
  const said = [field.help ? `${id}-help` : '', faults.length > 0 ? `${id}-faults` : '']
    .filter(Boolean)
    .join(' ');
  return {
    id,
    'aria-describedby': said || undefined,
    'aria-invalid': faults.length > 0 ? 'true' : undefined,
    'aria-required': field.required ? 'true' : undefined,
  };
}

/** @param {{ field: Field, at: string, form: Form }} props */
function OneField({ field, at, form }) {
  const id = useId();
  const faults = form.faults[at] ?? [];
  const text = read(form.typed, at);
  const set = (/** @type {Texts} */ next) => form.onChange(typedAt(form.typed, at, next));
  if (field.kind === 'object' && field.fields) {
    return html`<fieldset class="field">
      <legend>${field.label}<${Notes} field=${field} /></legend>
      <${Under} id=${id} field=${field} faults=${faults} />
      <${Fields} fields=${field.fields} at=${at} ...${form} />
    </fieldset>`;
  }
  if (field.kind === 'list') return html`<${List} field=${field} at=${at} form=${form} id=${id} />`;
  if (field.kind === 'map') return html`<${Pairs} field=${field} at=${at} form=${form} id=${id} />`;
  return html`<div class="field">
    <label for=${id}>${field.label}<${Notes} field=${field} /></label>
    <${Control}
      field=${field}
      text=${typeof text === 'string' ? text : ''}
      set=${set}
      search=${form.search}
      tie=${tied(id, field, faults)}
    />
    <${Examples} field=${field} text=${text} set=${set} />
    <${Under} id=${id} field=${field} faults=${faults} />
  </div>`;
}

/** Of one field. @param {{ field: Field, text: Texts, set: (text: string) => void }} props */
function Examples({ field, text, set }) {
  if (field.examples.length === 0 || field.kind === 'enum') return null;
  const all = field.examples
    .slice(0, 6)
    .map((one) => (typeof one === 'string' ? one : JSON.stringify(one)));
  return html`<${Presets}
    value=${text}
    options=${all.map((value) => ({ value }))}
    onChange=${set}
  />`;
}

/**
 * @param {{ field: Field, text: string, set: (text: string) => void, search?: Search,
 *   take?: (text: string) => void, tie: Record<string, any> }} props `take`: what is chosen among
 *   those found, whole; set without
 */
function Control({ field, text, set, take = set, search, tie }) {
  const input = (/** @type {any} */ event) => set(event.currentTarget.value);
  const preset = field.default === undefined || field.default === null ? '' : String(field.default);
  switch (field.kind) {
    case 'enum':
    case 'boolean': {
      const options =
        field.kind === 'boolean'
          ? ['true', 'false']
          : (field.options ?? []).map((one) =>
              typeof one === 'string' ? one : JSON.stringify(one),
            );
      return html`<select ...${tie} value=${text} onChange=${input}>
        <option value="">${preset ? `– (${preset})` : '–'}</option>
        ${options.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
      </select>`;
    }
    case 'window':
      return html`<div class="stack">
        <input
          ...${tie}
          type="text"
          value=${text}
          placeholder=${preset}
          pattern=${field.pattern}
          autocomplete="off"
          spellcheck="false"
          onInput=${input}
        />
        <${Presets}
          value=${text}
          options=${WINDOWS.map((one) => ({ value: one, help: windowTitle(one) }))}
          onChange=${(/** @type {string} */ one) => set(text === one ? '' : one)}
        />
      </div>`;
    case 'time':
      return html`<${TimeField} text=${text} set=${set} tie=${tie} />`;
    case 'id':
      return html`<${IdField}
        kind=${field.idKind}
        text=${text}
        set=${set}
        take=${take}
        search=${search}
        tie=${tie}
      />`;
    case 'json':
      return html`<textarea
        ...${tie}
        rows="3"
        class="mono"
        spellcheck="false"
        value=${text}
        placeholder="JSON"
        onInput=${input}
      ></textarea>`;
    default: {
      const numeric =
        field.kind === 'integer' ? 'numeric' : field.kind === 'number' ? 'decimal' : undefined;
      const range =
        field.min !== undefined || field.max !== undefined
          ? `${field.min ?? ''} … ${field.max ?? ''}`
          : '';
      return html`<input
        ...${tie}
        type="text"
        inputmode=${numeric}
        value=${text}
        placeholder=${preset || range}
        maxlength=${field.kind === 'text' ? field.maxLength : undefined}
        title=${range || undefined}
        autocomplete="off"
        onInput=${input}
      />`;
    }
  }
}

/**
 * Several values of one kind: those that are there as chips, and a control for the next.
 * @param {{ field: Field, at: string, form: Form, id: string }} props
 */
function List({ field, at, form, id }) {
  const [next, setNext] = useState('');
  const item = /** @type {Field} */ (field.item);
  const value = read(form.typed, at);
  /** @type {Texts[]} */
  const rows = Array.isArray(value) ? value : [];
  const faults = [
    ...(form.faults[at] ?? []),
    ...rows.flatMap((_, index) => form.faults[below(at, index)] ?? []),
  ];
  const set = (/** @type {Texts} */ to) => form.onChange(typedAt(form.typed, at, to));
  const nested = ['object', 'list', 'map'].includes(item.kind);
  const full = field.maxItems !== undefined && rows.length >= field.maxItems;
  const put = (/** @type {string[]} */ texts) => {
    const more = texts.filter((one) => !rows.includes(one));
    if (more.length > 0) set([...rows, ...more]);
    setNext('');
  };
  const add = (/** @type {string} */ text) => {
    put(entriesOf(text));
  };
  /** @param {KeyboardEvent} event */
  const enter = (event) => {
    if (event.key !== 'Enter' || next.trim() === '' || event.defaultPrevented) return;
    event.preventDefault();
    add(next);
  };
  const remove = (/** @type {number} */ index) => set(rows.filter((_, each) => each !== index));
  if (nested) {
    return html`<fieldset class="field">
      <legend>${field.label}<${Notes} field=${field} /></legend>
      <${Under} id=${id} field=${field} faults=${form.faults[at] ?? []} />
      ${rows.map(
        (_, index) => html`<div class="field-row" key=${index}>
          <${OneField}
            field=${{ ...item, label: `${field.label} ${index + 1}`, required: false }}
            at=${below(at, index)}
            form=${form}
          />
          <button
            type="button"
            class="plain"
            aria-label=${`Remove ${field.label} ${index + 1}`}
            onClick=${() => remove(index)}
          >
            <${Icon} name="close" size=${14} />
          </button>
        </div>`,
      )}
      <div>
        <button type="button" disabled=${full} onClick=${() => set([...rows, blank(item)])}>
          Add
        </button>
      </div>
    </fieldset>`;
  }
  return html`<div class="field" onKeyDown=${enter}>
    <label for=${id}>${field.label}<${Notes} field=${field} /></label>
    ${
      rows.length > 0
        ? html`<ul class="chips">
            ${rows.map(
              (one, index) => html`<li class="chip" key=${String(one)}>
                <bdi class="cut">${String(one)}</bdi>
                <button type="button" aria-label=${`Remove ${one}`} onClick=${() => remove(index)}>
                  <${Icon} name="close" size=${12} />
                </button>
              </li>`,
            )}
          </ul>`
        : null
    }
    <div class="field-row">
      <${Control}
        field=${item}
        text=${next}
        set=${item.kind === 'enum' ? add : setNext}
        take=${(/** @type {string} */ text) => put([text])}
        search=${form.search}
        tie=${tied(id, field, faults)}
      />
      ${
        item.kind === 'enum'
          ? null
          : html`<button
              type="button"
              disabled=${full || next.trim() === ''}
              onClick=${() => add(next)}
            >
              Add
            </button>`
      }
    </div>
    <${Under} id=${id} field=${field} faults=${faults} />
  </div>`;
}

/** Keys with values. @param {{ field: Field, at: string, form: Form, id: string }} props */
function Pairs({ field, at, form, id }) {
  const item = { .../** @type {Field} */ (field.item), required: false };
  const value = read(form.typed, at);
  /** @type {{ key: string, value: Texts }[]} */
  const rows = Array.isArray(value) ? value : [];
  const set = (/** @type {any[]} */ to) => form.onChange(typedAt(form.typed, at, to));
  const nested = ['object', 'list', 'map'].includes(item.kind);
  const change = (/** @type {number} */ index, /** @type {object} */ part) =>
    set(rows.map((row, each) => (each === index ? { ...row, ...part } : row)));
  return html`<fieldset class="field">
    <legend>${field.label}<${Notes} field=${field} /></legend>
    <${Under} id=${id} field=${field} faults=${form.faults[at] ?? []} />
    ${rows.map((row, index) => {
      const faults = row.key ? (form.faults[below(at, row.key)] ?? []) : [];
      const own = `${id}-${index}`;
      return html`<div class="map-row" key=${index}>
        <input
          type="text"
          aria-label=${`${field.label}, key ${index + 1}`}
          placeholder="key"
          value=${row.key}
          autocomplete="off"
          onInput=${(/** @type {any} */ event) => change(index, { key: event.currentTarget.value })}
        />
        <div>
          ${
            nested
              ? html`<${OneField} field=${item} at=${below(at, index, 'value')} form=${form} />`
              : html`
                  <${Control}
                    field=${item}
                    text=${typeof row.value === 'string' ? row.value : ''}
                    set=${(/** @type {string} */ text) => change(index, { value: text })}
                    search=${form.search}
                    tie=${{
                      ...tied(own, { ...item, help: '' }, faults),
                      'aria-label': `${field.label}, value of ${row.key || `key ${index + 1}`}`,
                    }}
                  />
                  <${Faults} id=${`${own}-faults`} faults=${faults} />
                `
          }
        </div>
        <button
          type="button"
          class="plain"
          aria-label=${`Remove ${row.key || `key ${index + 1}`}`}
          onClick=${() => set(rows.filter((_, each) => each !== index))}
        >
          <${Icon} name="close" size=${14} />
        </button>
      </div>`;
    })}
    <div>
      <button
        type="button"
        disabled=${field.maxItems !== undefined && rows.length >= field.maxItems}
        onClick=${() => set([...rows, { key: '', value: blank(item) }])}
      >
        Add
      </button>
    </div>
  </fieldset>`;
}
