// Dead letters again: what will happen is said before, and what has happened is counted and
// explained.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { asProblem, post } from '../data/api.js';
import { Dialog } from '../parts/actions.js';
import { Failure } from '../parts/state.js';
import { Num } from '../parts/values.js';

/** A call works for eight seconds, and may wait for the log. */
const DEADLINE_MS = 60_000;

/** What the counts of an answer mean, in order. @type {[string, string, string][]} */
const COUNTS = [
  ['appended', 'appended', 'events now; written to the log'],
  ['still_refused', 'still refused', 'they stay here'],
  ['in_log', 'in the log', 'still there, or appended before; nothing was written'],
  ['undecided', 'undecided', 'a metric that counts its history may meet them; replay again later'],
];

/** @param {{ counts: Record<string, number> }} props */
function Counts({ counts }) {
  return html`<dl class="counts">
    ${COUNTS.filter(([key]) => key !== 'undecided' || counts[key]).map(
      ([key, word, text]) =>
        html`<div key=${key}>
          <dt><strong><${Num} value=${counts[key] ?? 0} at=${`/${key}`} /></strong> ${word}</dt>
          <dd class="dim">${text}</dd>
        </div>`,
    )}
  </dl>`;
}

/**
 * @param {{ reason: string | undefined, open: boolean, count: number,
 *   onClose: () => void }} props `reason`: only that one
 */
export function Replay({ reason, open, count, onClose }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(
    /** @type {import('../data/api.js').Problem | undefined} */ (undefined),
  );
  const [counts, setCounts] = useState(
    /** @type {Record<string, number> | undefined} */ (undefined),
  );
  const [more, setMore] = useState(false);
  const close = () => {
    setCounts(undefined);
    setProblem(undefined);
    onClose();
  };
  const run = async () => {
    setBusy(true);
    setProblem(undefined);
    try {
      const told = await post('api/dead-letters/replay', reason ? { reason } : {}, {
        deadline: DEADLINE_MS,
      });
      const { undecided = 0 } = told;
      const sum = Object.fromEntries(
        COUNTS.map(([key]) => [key, (counts?.[key] ?? 0) + (told[key] ?? 0)]),
      );
      setCounts({ ...sum, undecided });
      setMore(told.more === true);
    } catch (error) {
      setProblem(asProblem(error));
    }
    setBusy(false);
  };
  return html`<${Dialog}
    open=${open}
    title=${reason ? `Replay ${reason}` : 'Replay all dead letters'}
    onClose=${close}
  >
    <div class="stack">
      ${
        counts
          ? html`<div role="status"><${Counts} counts=${counts} /></div>`
          : html`
              <p>
                The letters that this engine keeps${
                  reason ? html` with the reason <code>${reason}</code>` : ''
                } are judged again by today’s <code>[events]</code>
                ${'. There are '}
                <strong><${Num} value=${count} /></strong> so far.
              </p>
              <ul class="what-happens">
                <li>
                  ${'What is an event now, and no longer in the log, is '}
                  <strong>appended to the log</strong> and counts, once. That cannot be undone.
                </li>
                <li>What is still no event, or still in the log, is left as it is.</li>
              </ul>
              <p class="dim">
                ${'Every engine of the group must be of this version. With '}
                <code>dedupe_window = 0</code>, never replay on two engines at once.
              </p>
            `
      }
      ${
        counts && more
          ? html`<p>
              ${
                counts.undecided
                  ? 'It is not finished: some cannot be decided yet.'
                  : 'It is not finished: the next call goes on from there.'
              }
            </p>`
          : null
      }
      ${
        problem
          ? html`<${Failure}
              problem=${problem}
              title=${problem.code === 'replay_running' ? 'Another replay is running' : undefined}
            />`
          : null
      }
    </div>
    <div class="dialog-foot">
      <button type="button" onClick=${close}>${counts ? 'Close' : 'Cancel'}</button>
      ${
        !counts || more || problem
          ? html`<button type="button" class="primary" disabled=${busy} onClick=${run}>
              ${busy ? 'Replaying…' : counts || problem ? 'Continue' : 'Replay'}
            </button>`
          : null
      }
    </div>
  <//>`;
}
