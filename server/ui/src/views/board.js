// One board: its questions live on a grid, what can be done with it, and the same for a wall.
//
// A board of this browser can be arranged; one that is served or came by an address is copied
// first. What is chosen of the view (`arrange`, `wall`) is in the address.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { make, remove, removeItem, save, use } from '../data/boards.js';
import { now } from '../data/clock.js';
import { fmt, zone } from '../data/settings.js';
import { useKeys } from '../keys.js';
import { arranged, placed, rowsOf, write } from '../lib/board.js';
import { Download } from '../parts/actions.js';
import { View } from '../parts/card.js';
import { Guard } from '../parts/guard.js';
import { Icon } from '../parts/icons.js';
import { Failure, State } from '../parts/state.js';
import { Foreign, Time } from '../parts/values.js';
import { go, href, route, withQuery } from '../router.js';
import { ItemDialog, RenameDialog, ShareDialog, Undo } from './board-dialogs.js';
import { BoardItem } from './board-item.js';
import { useMoves } from './board-moves.js';
import { Trouble } from './boards.js';

/** @import {Board, Item} from '../lib/board.js' */
/** @import {Problem} from '../data/api.js' */

/**
 * Of a screen on which a wall has type of the usual size; of its head; of a row, as in boards.css.
 */
const [WIDTH, HEAD, ROW] = [1100, 60, 68];

/** @param {{ board: Board, label?: string, children?: any }} props */
export function Export({ board, label = 'Export', children }) {
  const name = board.title
    .replace(/[^\p{L}\p{N}]+/gu, '-')
    .slice(0, 60)
    .toLowerCase();
  return html`<${Download}
    name=${`${name}.json`}
    type="application/json"
    content=${() => write(board)}
    label=${label}
  >
    ${children ?? html`<span class="sr-only">${label}</span>`}
  <//>`;
}

/**
 * A board for a wall: over the whole screen where the browser allows it, as large as it fits, and
 * never asleep.
 * @param {boolean} on
 * @param {{ current: HTMLElement | null }} grid
 * @param {number} rows
 */
function useWall(on, grid, rows) {
  const leave = () => {
    withQuery({ wall: undefined });
    if (document.fullscreenElement) void document.exitFullscreen();
  };
  useEffect(() => {
    if (!on) return undefined;
    const ends = new AbortController();
    const { signal } = ends;
    const main = grid.current?.closest('main');
    const zoom = (/** @type {number} */ size) => main?.style.setProperty('zoom', String(size));
    const fit = () =>
      zoom(
        Math.max(1, Math.min(window.innerWidth / WIDTH, window.innerHeight / (HEAD + rows * ROW))),
      );
    const wake = () =>
      void navigator.wakeLock?.request('screen').then(
        (lock) => {
          const release = () => void lock.release();
          if (signal.aborted) release();
          else signal.addEventListener('abort', release);
        },
        () => {},
      );
    fit();
    wake();
    window.addEventListener('resize', fit, { signal });
    document.addEventListener(
      'visibilitychange',
      () => document.visibilityState === 'hidden' || wake(),
      { signal },
    );
    document.addEventListener('fullscreenchange', () => document.fullscreenElement || leave(), {
      signal,
    });
    document.addEventListener('keydown', ({ key }) => key !== 'Escape' || leave(), { signal });
    return () => {
      ends.abort();
      zoom(1);
    };
  }, [on, rows]);
  const enter = () => {
    withQuery({ wall: true, arrange: undefined }, { replace: false });
    void document.documentElement.requestFullscreen?.().catch(() => {});
  };
  return { enter, leave };
}

/** @typedef {'rename' | 'share' | { item: Item }} Open */

/**
 * @param {{ board: Board, kind: 'own' | 'served' | 'shared', id?: string, json?: string,
 *   problem?: Problem }} props
 */
export function BoardView({ board, kind, id = '', json, problem }) {
  const { query } = route.value;
  const own = kind === 'own';
  const wall = Boolean(query.wall);
  const arrange = own && !wall && Boolean(query.arrange);
  const [open, setOpen] = useState(/** @type {Open | undefined} */ (undefined));
  const grid = useRef(/** @type {HTMLElement | null} */ (null));
  const items = useMemo(() => arranged(board.items), [board]);
  const { enter, leave } = useWall(wall, grid, rowsOf(items));
  const change = (/** @type {Item[]} */ next) => save(id, { ...board, items: next });
  const moves = useMoves(grid, items, change);
  const close = () => setOpen(undefined);
  const toggle = () => withQuery({ arrange: !arrange });
  useEffect(() => {
    if (own) use(id);
  }, [id]);
  useKeys(
    {
      f: { label: 'board: wall', run: () => (wall ? leave() : enter()) },
      ...(own ? { a: { label: 'board: arrange', run: toggle } } : {}),
    },
    [wall, arrange, own],
  );

  const copy = () => {
    const made = make(board);
    if (made) go(href('boards', [made], { arrange: true }));
  };
  const drop = () => {
    remove(id);
    go(href('boards'));
  };
  const notes = {
    own: '',
    served: 'served by the engine, read-only',
    shared: 'shared by a link, not saved yet',
  };
  const tools = wall
    ? html`
        <span class="wall-clock">
          <${Time} value=${now.value} as="clock" /> <span class="dim small">${zone.value}</span>
        </span>
        <button type="button" onClick=${leave}>Leave the wall</button>
      `
    : arrange
      ? html`
          <a
            class="button"
            href=${href('explore')}
          >
            <${Icon} name="plus" size=${14} />Add from Explore
          </a>
          <button type="button" onClick=${() => setOpen('rename')}>Rename</button>
          <button type="button" class="danger" onClick=${drop}>Remove board</button>
          <button type="button" class="primary" onClick=${toggle}>Done</button>
        `
      : html`
          <button type="button" onClick=${() => setOpen('share')}>Share</button>
          <${Export} board=${board}>Export<//>
          <button type="button" onClick=${enter} title="On the whole screen (f)">
            <${Icon} name="full" size=${14} />Wall
          </button>
          ${
            own
              ? html`<button type="button" onClick=${toggle} title="Arrange (a)">Arrange</button>`
              : html`<button type="button" class="primary" onClick=${copy}>
                  ${kind === 'served' ? 'Edit a copy' : 'Save a copy'}
                </button>`
          }
        `;
  const itemTools = (/** @type {Item} */ item, /** @type {string} */ name) =>
    arrange &&
    html`
      <button type="button" class="plain board-grip" ...${moves.grip(item, name)}>
        <${Icon} name="move" size=${14} />
      </button>
      <button
        type="button"
        class="plain"
        onClick=${() => setOpen({ item })}
        aria-label=${`Edit ${name}`}
        title="Edit"
      >
        <${Icon} name="edit" size=${14} />
      </button>
      <button
        type="button"
        class="plain"
        onClick=${() => removeItem(id, item)}
        aria-label=${`Remove ${name}`}
        title="Remove"
      >
        <${Icon} name="close" size=${14} />
      </button>
    `;
  const names = items.map((item) => item.title ?? item.metric);
  const at = new Map(moves.items.map((item) => [item.id, item]));
  return html`<${View}
    title=${html`<${Foreign} text=${board.title} />`}
    name=${board.title}
    json=${wall ? undefined : json}
    lead=${wall ? '' : notes[kind]}
    tools=${tools}
  >
    ${wall ? null : html`<${Trouble} /><${Undo} />`}
    ${
      problem
        ? html`<div class="no-print">
            <${Failure} problem=${problem} title="The board may have changed" />
          </div>`
        : null
    }
    <p class="print-only">${fmt.value.dateTime(now.value)} ${zone.value}</p>
    ${
      arrange
        ? html`
            <p class="sr-only" id="board-how">
              ${
                'Enter picks it up and puts it down. ' +
                'Arrows move it, Shift and arrows resize it, Escape undoes.'
              }
            </p>
            <p class="board-hint dim small no-print">
              Drag the grip or the corner, or press Enter on a grip and use the arrow keys.
            </p>
          `
        : null
    }
    <p class="sr-only" role="status">${moves.said}</p>
    ${
      items.length === 0
        ? html`<${State} kind="nothing" title="No questions yet" centre>
            ${
              own
                ? html`
                    ${'Ask in '}
                    <a href=${href('explore')}>Explore</a> and pin the question to this board.
                  `
                : null
            }
          <//>`
        : null
    }
    <ul class=${`board ${wall ? 'wall' : ''} ${arrange ? 'arrange' : ''}`} ref=${grid}>
      ${items.map(
        (item, n) =>
          html`<${Guard} key=${item.id} of=${item}>
            <${BoardItem}
              twin=${names.indexOf(names[n]) !== names.lastIndexOf(names[n])}
              item=${at.get(item.id) ?? item}
              held=${moves.id === item.id}
              wall=${wall}
              tools=${itemTools}
              corner=${arrange ? moves.corner(item) : undefined}
            />
          <//>`,
      )}
    </ul>
    ${
      open === 'rename'
        ? html`<${RenameDialog}
            title=${board.title}
            onClose=${close}
            onDone=${(/** @type {string} */ title) => save(id, { ...board, title })}
          />`
        : null
    }
    ${open === 'share' ? html`<${ShareDialog} board=${board} onClose=${close} />` : null}
    ${
      typeof open === 'object'
        ? html`<${ItemDialog}
            item=${open.item}
            onClose=${close}
            onDone=${(/** @type {Item} */ next) =>
              change(
                placed(
                  items.map((one) =>
                    one.id === next.id ? { ...next, x: one.x, y: one.y, w: one.w, h: one.h } : one,
                  ),
                  next.id,
                  next,
                ),
              )}
          />`
        : null
    }
  <//>`;
}
