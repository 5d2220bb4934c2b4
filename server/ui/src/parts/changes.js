// What changes the engine. It stands apart from what looks, and each change is told before it is
// done: the server says what would happen, or why it is not possible; a person confirms; the server
// says what was done. Where it says nothing, the outcome is unknown, and said to be. While a change
// is carried out its dialog stays.

import { signal } from '@preact/signals';
import { useId, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { asProblem } from '../data/api.js';
import { failedTitle } from '../lib/outcome.js';
import { Dialog } from './actions.js';
import { Failure, State } from './state.js';

/** What was done last, and by which change: what was done before may be true no more. */
const last = signal({ by: {}, said: /** @type {any} */ (undefined) });

/**
 * The place of changes; `data-scope` names what a key needs for them.
 * @param {{ title?: string, children?: any }} props
 */
export function Changes({ title = 'Change', children }) {
  const id = useId();
  return html`<section class="card changes" data-scope="operate" aria-labelledby=${id}>
    <div class="card-head"><h2 id=${id}>${title}</h2></div>
    ${children}
  </section>`;
}

/**
 * One change: a button, and beside it what it is for.
 * @param {object} props
 * @param {string} props.action what the button says
 * @param {string} props.title of the question
 * @param {() => Promise<any>} props.foresee what would happen; fails with why it cannot
 * @param {() => Promise<any>} props.carryOut answers what was done
 * @param {() => void} [props.onCarried] it was carried out, or may have been
 * @param {boolean} [props.danger]
 * @param {boolean} [props.disabled]
 * @param {(problem: import('../data/api.js').Problem) => void} [props.onRefused]
 * @param {any} [props.children]
 */
export function Change({
  action,
  title,
  foresee,
  carryOut,
  onCarried,
  danger = false,
  disabled = false,
  onRefused,
  children,
}) {
  const [open, setOpen] = useState(false);
  const [busy, setBusy] = useState(false);
  const [carried, setCarried] = useState(false);
  const [would, setWould] = useState(/** @type {any} */ (undefined));
  const [problem, setProblem] = useState(
    /** @type {import('../data/api.js').Problem | undefined} */ (undefined),
  );
  const self = useRef({}).current;
  const done = last.value.by === self && last.value.said;
  const turn = useRef(0);
  /** @param {() => Promise<any>} step @param {(said: any) => void} then */
  const take = async (step, then) => {
    turn.current += 1;
    const own = turn.current;
    setBusy(true);
    setProblem(undefined);
    try {
      const said = await step();
      if (own === turn.current) then(said);
    } catch (error) {
      if (own !== turn.current) return;
      setProblem(asProblem(error));
      onRefused?.(asProblem(error));
    }
    if (own === turn.current) setBusy(false);
  };
  const begin = () => {
    setCarried(false);
    setWould(undefined);
    setOpen(true);
    void take(foresee, setWould);
  };
  const confirm = async () => {
    setCarried(true);
    await take(carryOut, (said) => {
      last.value = { by: self, said };
      setOpen(false);
    });
    onCarried?.();
  };
  const held = carried && busy;
  const close = () => {
    if (held) return;
    turn.current += 1;
    setBusy(false);
    setOpen(false);
  };
  return html`<div class="change">
    <button
      type="button"
      class=${danger ? 'danger' : ''}
      disabled=${disabled || busy}
      onClick=${begin}
    >
      ${action}
    </button>
    <div class="grow">
      <p class="dim">${children}</p>
      <div role="status">${done ? html`<p class="good">${done}</p>` : null}</div>
    </div>
    <${Dialog} open=${open} title=${title} onClose=${close}>
      <div aria-live="polite">
        ${
          problem
            ? html`<${Failure}
                problem=${problem}
                title=${failedTitle(problem, carried)}
              />`
            : would
              ? html`<p class="would">${would}</p>`
              : html`<${State} kind="connecting" title="Checking what would happen" />`
        }
      </div>
      <div class="dialog-foot">
        <button type="button" disabled=${held} onClick=${close}>
          ${problem ? 'Close' : 'Cancel'}
        </button>
        ${
          would && !problem
            ? html`<button
                type="button"
                class=${danger ? 'danger' : 'primary'}
                disabled=${busy}
                onClick=${confirm}
              >
                ${action}
              </button>`
            : null
        }
      </div>
    <//>
  </div>`;
}
