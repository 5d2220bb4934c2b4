// The question as a form: the fields of its params with the server's faults at them, its
// examples, and whether names are wanted.
//
// What is typed becomes the address after a pause, what is pressed at once; what cannot be read
// stays in the form until it can. Params that come from elsewhere, such as a range of the chart or
// a step back, are taken over.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { useComputed } from '@preact/signals';
import { html } from '../html.js';
import { search } from '../data/names.js';
import { grouped, params as read, placed, texts } from '../lib/form.js';
import { canonical } from '../lib/question.js';
import { oneWindow } from '../lib/ranges.js';
import { Presets } from '../parts/actions.js';
import { Fields } from '../parts/fields.js';
import { Faults } from '../parts/state.js';
import { route, withQuery } from '../router.js';
import { RangeField } from './explore-range.js';

/** @import {Descriptor, Field, Params, Texts} from '../types' */

/** Typing pauses this long before it is asked. */
const PAUSE_MS = 450;
/** From this width on the form stands beside the answer. */
const WIDE = matchMedia('(min-width: 961px)');

/**
 * @param {object} props
 * @param {Descriptor} props.descriptor
 * @param {Field[]} props.all
 * @param {Params} props.params of the address
 * @param {boolean} props.readable whether the address has params that can be read
 * @param {boolean} props.ids whether names can be had
 * @param {import('@preact/signals').ReadonlySignal<import('../data/answer.js').Answered>}
 *   props.state
 * @param {boolean} props.needs whether nothing can be asked yet
 * @param {() => void} props.onAgain
 */
export function QuestionForm({ descriptor, all, params, readable, ids, state, needs, onAgain }) {
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const { typed, made, change, take } = useTyped(descriptor, all, params);
  const errors = useComputed(() => state.value.problem?.errors).value ?? [];
  const old = (/** @type {string} */ pointer) =>
    needs || made.faults.some((fault) => `/params${fault.pointer}` === pointer);
  const { at, rest } = placed(all, [
    ...made.faults,
    ...errors.filter((fault) => !old(fault.pointer)),
  ]);
  const [open, setOpen] = useState(WIDE.matches || needs);
  const faulty = made.faults.length + errors.length > 0;
  useEffect(() => {
    if (faulty) setOpen(true);
  }, [faulty]);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (made.faults.length > 0)
      /** @type {HTMLElement | null | undefined} */ (
        form.current?.querySelector('[aria-invalid="true"]')
      )?.focus();
    else if (canonical(made.params) === canonical(params)) onAgain();
    else take(made.params);
  };
  return html`<details
    class="card explore-question"
    open=${open}
    onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}
  >
    <summary class="card-head"><h2>Question</h2></summary>
    <${Examples} descriptor=${descriptor} params=${params} />
    <form ref=${form} onSubmit=${submit} noValidate>
      ${
        readable
          ? null
          : html`<p class="fault">The params in the address are not a JSON object, or too deep.</p>`
      }
      <${Faults} faults=${rest} />
      <${Parts} all=${all} params=${params} typed=${typed} faults=${at} onChange=${change} />
      ${
        ids
          ? html`<label class="row">
              <input
                type="checkbox"
                checked=${route.value.query.names !== '0'}
                onChange=${(/** @type {any} */ event) =>
                  withQuery({ names: event.currentTarget.checked ? '' : '0' })}
              /> show names beside ids
            </label>`
          : null
      }
      <div class="form-foot">
        <button class="primary">Ask</button>
        <button
          type="button"
          disabled=${canonical(params) === '{}' && !faulty}
          onClick=${() => take({})}
        >
          Clear
        </button>
      </div>
    </form>
  </details>`;
}

/**
 * The fields: what is required, the range and its steps; the others are folded until one is set or
 * at fault.
 * @param {{ all: Field[], params: Params, typed: { [key: string]: Texts },
 *   faults: Record<string, string[]>, onChange: (typed: { [key: string]: Texts }) => void }} props
 */
function Parts({ all, params, typed, faults, onChange }) {
  const { first, range, step, more } = useMemo(() => grouped(all), [all]);
  const set = more.filter(({ key }) => params[key] !== undefined).length;
  const faulty = Object.keys(faults).some((pointer) =>
    more.some((one) => pointer === one.pointer || pointer.startsWith(`${one.pointer}/`)),
  );
  const [open, setOpen] = useState(set > 0 || faulty);
  useEffect(() => {
    if (set > 0 || faulty) setOpen(true);
  }, [set > 0, faulty]);
  if (all.length === 0) return html`<p class="dim">This metric takes no params.</p>`;
  const part = (/** @type {Field[]} */ some) =>
    some.length > 0
      ? html`<${Fields}
          fields=${some}
          typed=${typed}
          faults=${faults}
          onChange=${onChange}
          search=${search}
        />`
      : null;
  return html`<div class="stack">
    ${part(first)}
    ${
      range.length > 0
        ? html`<${RangeField}
            fields=${range}
            typed=${typed}
            faults=${faults}
            onChange=${onChange}
          />`
        : null
    }
    ${part(step)}
    ${
      more.length > 0
        ? html`<details
            class="explore-more"
            open=${open}
            onToggle=${(/** @type {any} */ event) => setOpen(event.currentTarget.open)}
          >
            <summary>More${set > 0 ? html` <span class="dim">(${set} set)</span>` : null}</summary>
            ${part(more)}
          </details>`
        : null
    }
  </div>`;
}

/**
 * What is typed, kept beside the params of the address.
 * @param {Descriptor} descriptor @param {Field[]} all @param {Params} params
 */
function useTyped(descriptor, all, params) {
  const text = canonical(params);
  const [typed, setTyped] = useState(() => texts(all, params));
  const own = useRef(text);
  const timer = useRef(/** @type {ReturnType<typeof setTimeout> | undefined} */ (undefined));
  useEffect(() => {
    if (own.current === text) return;
    clearTimeout(timer.current);
    own.current = text;
    setTyped(texts(all, params));
  }, [text]);
  useEffect(() => () => clearTimeout(timer.current), []);
  /** @param {{ [key: string]: Texts }} next */
  const change = (next) => {
    const to = descriptor.time ? oneWindow(typed, next) : next;
    setTyped(to);
    clearTimeout(timer.current);
    const typing = document.activeElement?.matches('input, textarea');
    timer.current = setTimeout(
      () => {
        const { params: made, faults } = read(all, to, params);
        if (faults.length > 0) return;
        own.current = canonical(made);
        withQuery({ params: own.current });
      },
      typing ? PAUSE_MS : 0,
    );
  };
  /** Params as a whole, at once. @param {Params} next */
  const take = (next) => {
    clearTimeout(timer.current);
    own.current = canonical(next);
    setTyped(texts(all, next));
    withQuery({ params: own.current }, { replace: false });
  };
  return { typed, made: read(all, typed, params), change, take };
}

/** @param {{ descriptor: Descriptor, params: Params }} props */
function Examples({ descriptor, params }) {
  const { examples } = descriptor;
  if (examples.length === 0) return null;
  return html`<div class="field">
    <span class="label" id="examples">examples</span>
    <${Presets}
      label="examples"
      value=${canonical(params)}
      options=${examples.slice(0, 8).map((one) => {
        const text = canonical(one.params);
        const title = html`<bdi class="cut">${one.note || text}</bdi>`;
        return { value: text, help: text, title };
      })}
      onChange=${(/** @type {string} */ text) => withQuery({ params: text }, { replace: false })}
    />
  </div>`;
}
