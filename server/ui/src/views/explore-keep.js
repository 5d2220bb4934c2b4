// What can be kept of an answer: files of CSV and JSON, and a pin on a board.

import { useState } from 'preact/hooks';
import { useComputed } from '@preact/signals';
import { html } from '../html.js';
import { asProblem, post } from '../data/api.js';
import { kept, pin } from '../data/boards.js';
import { windowTitle } from '../lib/format.js';
import { bodyOf } from '../lib/question.js';
import { Download } from '../parts/actions.js';
import { Icon } from '../parts/icons.js';
import { href, route } from '../router.js';

/** @import {Question} from '../types' */

/**
 * The picture of a pin by what is seen; that of the result's schema without.
 * @type {Record<string, string>}
 */
const PICTURES = { table: 'table', json: 'tree' };

/**
 * @param {{ question: Question, state:
 *   import('@preact/signals').ReadonlySignal<import('../data/answer.js').Answered> }} props
 */
export function Keep({ question, state }) {
  const [said, say] = useState(/** @type {any} */ (null));
  const asOf = useComputed(() => state.value.answer?.meta.as_of).value;
  const { metric, params, expand } = question;
  const name = `${metric}-${(asOf ?? '').slice(0, 19).replaceAll(':', '-')}`;
  /**
   * Says why it has failed.
   * @template T
   * @param {() => Promise<T> | T} run
   * @returns {Promise<T | undefined>}
   */
  const trying = async (run) => {
    say(null);
    try {
      return await run();
    } catch (error) {
      say(html`<bdi class="fault">${asProblem(error).detail}</bdi>`);
      return undefined;
    }
  };
  const csv = () => trying(() => post('api/metrics', bodyOf(question), { accept: 'text/csv' }));
  const json = () => {
    const { answer, of } = state.peek();
    return `${JSON.stringify({ name: of?.metric, params: of?.params, ...answer }, null, 2)}\n`;
  };
  const toBoard = () =>
    trying(async () => {
      const { window: length = 'all', from, to } = params;
      const time = from || to || length === 'all' ? '' : `, ${windowTitle(length)}`;
      const picture = PICTURES[route.peek().query.view];
      const { board } = await pin({
        title: metric.replaceAll('_', ' ') + time,
        metric,
        params,
        expand,
        picture,
      });
      say(html`
        Pinned: <a href=${href('boards', [board])}>
          open <bdi>${kept.value[board]?.title}</bdi>
        </a>
      `);
    });
  return html`
    <span role="status">${said}</span>
    <${Download}
      name=${`${name}.csv`}
      type="text/csv"
      content=${csv}
      disabled=${!asOf}
      label="the rows, requested again"
    >
      CSV
    <//>
    <${Download}
      name=${`${name}.json`}
      type="application/json"
      content=${json}
      disabled=${!asOf}
      label="the answer shown"
    >
      JSON file
    <//>
    <button type="button" onClick=${toBoard}>
      <${Icon} name="pin" size=${14} />Pin to a board
    </button>
  `;
}
