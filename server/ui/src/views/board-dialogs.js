// What is asked before a board changes: an item, a name; its address; and the way back from what
// was removed.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { removed } from '../data/boards.js';
import { fmt } from '../data/settings.js';
import { COLUMNS, LONGEST_SHARED, LONGEST_TITLE, pack, PICTURES } from '../lib/board.js';
import { canonical } from '../lib/question.js';
import { isLocal } from '../lib/address.js';
import { Dialog } from '../parts/actions.js';
import { Code, State } from '../parts/state.js';
import { href } from '../router.js';

/** @import {Board, Item} from '../lib/board.js' */

/** The way back, as long as its view is seen; it takes the focus, since what had it is gone. */
export function Undo() {
  const what = removed.value;
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  useEffect(() => {
    button.current?.focus();
    return () => {
      if (removed.peek() === what) removed.value = undefined;
    };
  }, [what]);
  const back = () => {
    what?.back();
    /** @type {HTMLElement | null} */ (document.querySelector('h1'))?.focus();
  };
  return html`<div role="status" class="no-print">
    ${
      what
        ? html`<p class="card board-note row">
            <span class="grow"><bdi>${what.text}</bdi></span>
            <button type="button" ref=${button} onClick=${back}>Undo</button>
          </p>`
        : null
    }
  </div>`;
}

/**
 * A dialog with a form; `onDone` answers what is wrong, or nothing.
 * @param {{ title: string, action: string, onClose: () => void,
 *   onDone: (text: (key: string) => string) => string | undefined | void, children?: any }} props
 */
function FormDialog({ title, action, onClose, onDone, children }) {
  const [fault, setFault] = useState('');
  const submit = (/** @type {any} */ event) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget);
    const wrong = onDone((key) => String(data.get(key) ?? '').trim());
    setFault(wrong ?? '');
    if (!wrong) onClose();
  };
  return html`<${Dialog} open title=${title} onClose=${onClose}>
    <form onSubmit=${submit}>
      <div class="fields">${children}</div>
      <p class="fault" role="alert">${fault}</p>
      <div class="dialog-foot">
        <button type="button" onClick=${onClose}>Cancel</button>
        <button class="primary">${action}</button>
      </div>
    </form>
  <//>`;
}

/**
 * @param {{ label: string, name: string, value?: string | number, children?: any,
 *   [key: string]: any }} props
 */
function Field({ label, name, value, children, ...more }) {
  return html`<label class="field">
    <span class="label">${label}</span>
    ${
      children ??
      html`<input name=${name} defaultValue=${value} dir="auto" autocomplete="off" ...${more} />`
    }
  </label>`;
}

/**
 * @param {{ item: Item, onClose: () => void,
 *   onDone: (item: Item) => string | undefined }} props `onDone` answers what is wrong
 */
export function ItemDialog({ item, onClose, onDone }) {
  const done = (/** @type {(key: string) => string} */ text) => {
    const number = (/** @type {string} */ key) => Number(text(key));
    let params;
    try {
      params = JSON.parse(text('params') || '{}');
    } catch (error) {
      return `Params: ${/** @type {Error} */ (error).message}`;
    }
    if (params === null || typeof params !== 'object' || Array.isArray(params))
      return 'Params must be a JSON object.';
    const { title: _, picture: __, ...others } = item;
    const [title, picture] = [text('title'), /** @type {any} */ (text('picture'))];
    return onDone({
      ...others,
      ...(title ? { title } : {}),
      ...(picture ? { picture } : {}),
      params,
      x: number('x') - 1,
      y: number('y') - 1,
      w: number('w'),
      h: number('h'),
    });
  };
  const place = (
    /** @type {string} */ label,
    /** @type {string} */ name,
    /** @type {number} */ value,
    /** @type {number} */ max,
  ) =>
    html`<${Field}
      label=${label}
      name=${name}
      value=${value}
      type="number"
      min="1"
      max=${max}
      required
    />`;
  return html`<${FormDialog} title=${item.metric} action="Save" onClose=${onClose} onDone=${done}>
    <${Field}
      label="Title"
      name="title"
      value=${item.title}
      maxLength=${LONGEST_TITLE}
      placeholder=${item.metric}
    />
    <${Field} label="Picture" name="picture">
      <select name="picture" value=${item.picture ?? ''}>
        <option value="">automatic</option>
        ${PICTURES.map((one) => html`<option key=${one}>${one}</option>`)}
      </select>
    <//>
    <p>
      <a href=${href('explore', [item.metric], { params: canonical(item.params), live: 1 })}>
        Edit in Explore
      </a>
      ${' and pin it again, or here, as JSON:'}
    </p>
    <${Field} label="Params" name="params">
      <textarea
        name="params"
        class="mono"
        rows="5"
        spellcheck=${false}
        defaultValue=${JSON.stringify(item.params, null, 1)}
      ></textarea>
    <//>
    <div class="board-places">
      ${place('Column', 'x', item.x + 1, COLUMNS)}
      ${place('Row', 'y', item.y + 1, 10_000)}
      ${place(`Width, of ${COLUMNS} columns`, 'w', item.w, COLUMNS)}
      ${place('Height, in rows', 'h', item.h, 100)}
    </div>
  <//>`;
}

/**
 * @param {{ title: string, onClose: () => void,
 *   onDone: (title: string) => string | undefined }} props `onDone` answers what is wrong
 */
export function RenameDialog({ title, onClose, onDone }) {
  return html`<${FormDialog}
    title="Rename"
    action="Rename"
    onClose=${onClose}
    onDone=${(/** @type {(key: string) => string} */ text) =>
      text('title') ? onDone(text('title')) : 'Enter a title.'}
  >
    <${Field} label="Title" name="title" value=${title} maxLength=${LONGEST_TITLE} />
  <//>`;
}

/** @param {{ board: Board, onClose: () => void }} props */
export function ShareDialog({ board, onClose }) {
  const [doc, setDoc] = useState('');
  useEffect(() => void pack(board).then(setDoc), [board]);
  const url = new URL(href('boards', [], { doc }), location.href).href;
  return html`<${Dialog} open title="Share" onClose=${onClose}>
    ${
      !doc
        ? html`<${State} kind="connecting" title="Creating the link" />`
        : doc.length > LONGEST_SHARED
          ? html`<${State} kind="problem" title="Too long to share as a link">
              The link would have ${fmt.value.number(doc.length)} characters; at most
              ${` ${fmt.value.number(LONGEST_SHARED)} work everywhere. `}
              Export the board as a file, or remove some questions.
            <//>`
          : html`<div class="stack">
              <p>
                ${
                  'Anyone who opens this link on an engine with the same metrics sees this ' +
                  'board. It holds the questions, not the answers.'
                }
              </p>
              ${
                isLocal(location.hostname)
                  ? html`<p class="warn">
                      ${location.hostname} is this machine: others cannot open the link. Open the
                      page by the name of the machine first.
                    </p>`
                  : null
              }
              <${Code} text=${url} label="address" />
            </div>`
    }
  <//>`;
}
