// An id of a user or product: typed, or found by name in the catalogue (a combobox).

import { useEffect, useId, useState } from 'preact/hooks';
import { html } from '../html.js';

/** @import {IdKind} from '../types' */

/** Typing pauses this long before the catalogue is asked. */
const PAUSE_MS = 180;

/**
 * @param {{ kind?: IdKind, text: string, set: (text: string) => void, take: (text: string) => void,
 *   search?: import('./fields.js').Search,
 *   tie: Record<string, any> }} props `set`: what is typed, `take`: what is chosen
 */
export function IdField({ kind, text, set, take, search, tie }) {
  const list = useId();
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const [found, setFound] = useState(/** @type {{ id: number | string, name: string }[]} */ ([]));
  const [status, setStatus] = useState('');
  useEffect(() => {
    if (!open || !search || !kind) return undefined;
    let over = false;
    const timer = setTimeout(async () => {
      try {
        const { found: rows, left } = await search(kind, text);
        if (over) return;
        setFound(rows);
        setAt(-1);
        setStatus([rows.length === 0 ? 'none found' : '', left].filter(Boolean).join(': '));
      } catch {
        if (!over) setStatus('the catalogue does not answer: type the id');
      }
    }, PAUSE_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [open, text, kind, search]);
  const choose = (/** @type {{ id: number | string }} */ row) => {
    take(String(row.id));
    setOpen(false);
  };
  /** @param {KeyboardEvent} event */
  const move = (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      setOpen(true);
      const by = event.key === 'ArrowDown' ? 1 : -1;
      if (found.length > 0) setAt((at + by + found.length) % found.length);
    } else if (event.key === 'Enter' && open && found[at]) {
      event.preventDefault();
      choose(found[at]);
    } else if (event.key === 'Escape' && open) {
      event.preventDefault();
      event.stopPropagation();
      setOpen(false);
    }
  };
  const shown = open && Boolean(search) && (found.length > 0 || status !== '');
  return html`<div class="combo">
    <input
      ...${tie}
      type="text"
      role="combobox"
      autocomplete="off"
      spellcheck="false"
      aria-autocomplete="list"
      aria-expanded=${shown}
      aria-controls=${list}
      aria-activedescendant=${shown && at >= 0 ? `${list}-${at}` : undefined}
      placeholder=${`${kind ?? ''} id, or part of a name`}
      value=${text}
      onInput=${(/** @type {any} */ event) => {
        set(event.currentTarget.value);
        setOpen(true);
      }}
      onFocus=${() => setOpen(true)}
      onBlur=${() => setOpen(false)}
      onKeyDown=${move}
    />
    ${
      shown
        ? html`<ul
            id=${list}
            role=${found.length > 0 ? 'listbox' : undefined}
            aria-label=${`${kind}s`}
          >
            ${found.map(
              (row, index) => html`<li
                key=${row.id}
                id=${`${list}-${index}`}
                role="option"
                aria-selected=${index === at}
                onMouseDown=${(/** @type {any} */ event) => {
                  event.preventDefault();
                  choose(row);
                }}
              >
                <bdi class="cut grow" title=${row.name}>${row.name}</bdi>
                <bdi class="dim">${row.id}</bdi>
              </li>`,
            )}
            ${
              status
                ? html`<li class="status" role=${found.length > 0 ? 'presentation' : undefined}>
                    ${status}
                  </li>`
                : null
            }
          </ul>`
        : null
    }
  </div>`;
}
