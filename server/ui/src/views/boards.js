// Boards: those that this browser keeps and those that the engine serves; a board from a file, and
// one from an address. `board.js` shows one.

import { useEffect, useState } from 'preact/hooks';
import { html } from '../html.js';
import { beginAnew, kept, make, remove, trouble, useServed } from '../data/boards.js';
import { fmt } from '../data/settings.js';
import { empty, judge, LARGEST, parse, unpack } from '../lib/board.js';
import { Download } from '../parts/actions.js';
import { Card, View } from '../parts/card.js';
import { Icon } from '../parts/icons.js';
import { Failure, Faults, Pending, State } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Foreign } from '../parts/values.js';
import { go, href, route } from '../router.js';
import { BoardView, Export } from './board.js';
import { Undo } from './board-dialogs.js';

/** @import {Fault} from '../types' */
/** @import {Board} from '../lib/board.js' */

/** What is wrong with a document. @param {{ faults: Fault[], of: any }} props */
function NoBoard({ faults, of }) {
  return html`<${State} kind="refused" title=${html`<bdi>${of}</bdi> is not a board`}>
    <${Faults} faults=${faults.slice(0, 50)} label="faults" />
    ${faults.length > 50 ? html`<p>and ${fmt.value.number(faults.length - 50)} more</p>` : null}
  <//>`;
}

/** Why what is seen is not kept. */
export function Trouble() {
  const now = trouble.value;
  if (!now) return null;
  const { title, why, other } = now;
  return html`<div role="alert" class="card board-note no-print">
    <${State}
      kind="store-away"
      title=${title}
      remedy=${
        other === undefined
          ? null
          : html`
              <${Download} name="boards-kept.json" type="application/json" content=${() => other}>
                Download it
              <//> <button type="button" class="danger" onClick=${beginAnew}>Discard it</button>
            `
      }
    >
      ${why}
    <//>
  </div>`;
}

/** @param {{ onFaults: (faults: { of: string, faults: Fault[] } | undefined) => void }} props */
function Import({ onFaults }) {
  const read = async (/** @type {any} */ event) => {
    const field = event.currentTarget;
    const [file] = field.files;
    if (!file) return;
    const found =
      file.size > LARGEST
        ? { faults: [{ pointer: '', detail: `is larger than ${LARGEST / 1024} KiB` }] }
        : parse(await file.text());
    field.value = '';
    onFaults(found.board ? undefined : { of: file.name, faults: found.faults });
    const id = found.board && make(found.board);
    if (id) go(href('boards', [id]));
  };
  return html`<label class="button">
    Import<input type="file" class="sr-only" accept=".json,application/json" onChange=${read} />
  </label>`;
}

/** @typedef {{ id: string, title: string, items: number, tools?: any }} Row */

/** @param {{ rows: Row[], caption: string }} props */
function BoardTable({ rows, caption }) {
  return html`<${Table}
    caption=${caption}
    rows=${rows}
    rowKey=${(/** @type {Row} */ row) => row.id}
    columns=${[
      {
        key: 'title',
        title: 'board',
        head: true,
        class: 'text',
        sort: (/** @type {Row} */ row) => row.title,
        cell: (/** @type {Row} */ { id, title }) =>
          html`<a href=${href('boards', [id])}><${Foreign} text=${title} /></a>`,
      },
      {
        key: 'items',
        title: 'questions',
        end: true,
        tight: true,
        sort: (/** @type {Row} */ row) => row.items,
        cell: (/** @type {Row} */ row) => row.items,
      },
      {
        key: 'do',
        title: html`<span class="sr-only">tools</span>`,
        end: true,
        tight: true,
        cell: (/** @type {Row} */ row) => row.tools,
      },
    ]}
  />`;
}

/** @param {string} id @param {Board} board */
function ownRow(id, board) {
  const tools = html`<span class="board-tools">
    <${Export} board=${board} label=${`Export ${board.title}`} />
    <button
      type="button"
      class="plain"
      aria-label=${`Remove ${board.title}`}
      title="Remove"
      onClick=${() => remove(id)}
    >
      <${Icon} name="close" size=${14} />
    </button>
  </span>`;
  return { id, title: board.title, items: board.items.length, tools };
}

function List() {
  const [faults, setFaults] = useState(
    /** @type {{ of: string, faults: Fault[] } | undefined} */ (undefined),
  );
  const { data, problem } = useServed('api/boards');
  const own = Object.entries(kept.value).map(([id, board]) => ownRow(id, board));
  const served = data?.boards?.map((/** @type {any} */ one) => ({
    id: one.name,
    title: one.title,
    items: one.items,
    tools: html`<code>${one.name}.json</code>`,
  }));
  const begin = () => {
    const id = make(empty('My board'));
    if (id) go(href('boards', [id], { arrange: true }));
  };
  return html`<${View}
    title="Boards"
    json="api/boards"
    tools=${html`
      <${Import} onFaults=${setFaults} />
      <button type="button" class="primary" onClick=${begin}>New board</button>
    `}
  >
    <${Trouble} />
    <${Undo} />
    ${
      faults
        ? html`<div role="alert" class="card board-note"><${NoBoard} ...${faults} /></div>`
        : null
    }
    <div class="two boards">
      <${Card} title="In this browser">
        ${
          own.length
            ? html`<${BoardTable} caption="Boards in this browser" rows=${own} />`
            : html`<${State} kind="nothing" title="No boards yet">
                Ask in <a href=${href('explore')}>Explore</a> and pin the question.
              <//>`
        }
      <//>
      <${Card} title="From the engine" stale=${data && problem}>
        ${
          served?.length
            ? html`<${BoardTable} caption="Boards from the engine" rows=${served} />`
            : null
        }
        ${
          data && !served?.length
            ? html`<${State} kind="nothing" title="No boards from the engine">
                ${'Export a board and put it into the folder named by '}
                <code>[server] boards</code>: everyone then sees it.
              <//>`
            : null
        }
        ${data?.rejected?.map(
          (/** @type {any} */ one) =>
            html`<${State}
              key=${one.file}
              kind="refused"
              title=${html`<bdi>${one.file}</bdi> is not served`}
            >
              it <bdi>${one.reason}</bdi>
            <//>`,
        )}
        ${
          data && problem
            ? html`<${Failure} problem=${problem} />`
            : html`<${Pending} of=${{ data, problem }} />`
        }
      <//>
    </div>
  <//>`;
}

/** A board that is not there. @param {{ json?: string, children?: any }} props */
function None({ json, children }) {
  return html`<${View}
    title="Board"
    json=${json}
    tools=${html`<a class="button" href=${href('boards')}>All boards</a>`}
  >
    <${Trouble} />
    <${Undo} />
    ${children}
  <//>`;
}

/** @param {{ doc: string }} props */
function Shared({ doc }) {
  const [found, setFound] = useState(
    /** @type {{ board?: Board, faults: Fault[] } | undefined} */ (undefined),
  );
  useEffect(() => {
    let over = false;
    void unpack(doc).then((one) => over || setFound(one));
    return () => {
      over = true;
    };
  }, [doc]);
  if (!found) return html`<${None}><${State} kind="connecting" title="Opening the link" /><//>`;
  if (!found.board)
    return html`<${None}><${NoBoard} of="What this link holds" faults=${found.faults} /><//>`;
  return html`<${BoardView} board=${found.board} kind="shared" />`;
}

/** @param {{ name: string }} props */
function ServedBoard({ name }) {
  const json = `api/boards/${encodeURIComponent(name)}`;
  const { data, problem } = useServed(json);
  const faults = data ? judge(data) : [];
  if (!data) return html`<${None} json=${json}><${Pending} of=${{ problem }} /><//>`;
  if (faults.length)
    return html`<${None} json=${json}><${NoBoard} of=${name} faults=${faults} /><//>`;
  return html`<${BoardView} board=${data} kind="served" json=${json} problem=${problem} />`;
}

export function Boards() {
  const {
    path: [id],
    query: { doc },
  } = route.value;
  if (id === undefined)
    return doc === undefined ? html`<${List} />` : html`<${Shared} key=${doc} doc=${doc} />`;
  if (!id.startsWith('~')) return html`<${ServedBoard} key=${id} name=${id} />`;
  const board = Object.hasOwn(kept.value, id) ? kept.value[id] : undefined;
  if (board) return html`<${BoardView} key=${id} id=${id} board=${board} kind="own" />`;
  return html`<${None}>
    <${State} kind="nothing" title="No such board in this browser">
      It was removed, or made in another browser, where it can be shared.
    <//>
  <//>`;
}
