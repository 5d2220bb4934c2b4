// The same question for a terminal or a program.

import { html } from '../html.js';
import { asked } from '../lib/question.js';
import { Tabs } from '../parts/actions.js';
import { Card } from '../parts/card.js';
import { Code } from '../parts/state.js';
import { route, withQuery } from '../router.js';

/** @import {Question} from '../types' */

/** @type {{ value: keyof ReturnType<typeof asked>, title: string }[]} */
const WAYS = [
  { value: 'curl', title: 'curl' },
  { value: 'websocket', title: 'WebSocket' },
  { value: 'sse', title: 'SSE' },
  { value: 'python', title: 'Python' },
  { value: 'typescript', title: 'TypeScript' },
];

/** @param {{ question: Question }} props */
export function Elsewhere({ question }) {
  const way = WAYS.find((one) => one.value === route.value.query.as) ?? WAYS[0];
  return html`<${Card} title="The same question as" class="no-print">
    <${Tabs}
      label="the same question as"
      value=${way.value}
      tabs=${WAYS}
      onChange=${(/** @type {string} */ to) => withQuery({ as: to === 'curl' ? '' : to })}
    >
      <${Code} text=${asked(question, document.baseURI)[way.value]} label=${way.title} />
    <//>
  <//>`;
}
