// Moves and sizes of a board's items, by pointer and by keyboard alike.
//
// What is picked up is seen at its new place at once and is kept when it is put down; Escape puts
// it back, and so does a change of the board by another page. Leaving the grip by Tab or a press
// puts it down. Everything that happens is said.

import { useEffect, useRef, useState } from 'preact/hooks';
import { placed, stepped } from '../lib/board.js';

/** @import {Item, Place} from '../lib/board.js' */

/** A row with the gap below it, and the gap between columns, as in boards.css. */
const [ROW, GAP, COLUMNS] = [68, 12, 12];
/** So near to the edge of the window a drag scrolls. */
const EDGE = 48;

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {Place} place */
const where = ({ x, y, w, h }) => `column ${x + 1}, row ${y + 1}, ${w} wide, ${h} high`;

/**
 * @typedef {{ item: Item, name: string, size: boolean, x: number, y: number, moved: boolean }} Drag
 */

/**
 * @param {{ current: HTMLElement | null }} grid
 * @param {Item[]} items
 * @param {(items: Item[]) => void} commit
 */
export function useMoves(grid, items, commit) {
  const [held, setHeld] = useState(
    /** @type {{ id: string, name: string, items: Item[] } | undefined} */ (undefined),
  );
  const [said, say] = useState('');
  const drag = useRef(/** @type {Drag | undefined} */ (undefined));
  const grips = useRef(/** @type {Map<string, HTMLElement>} */ (new Map()));
  const back = useRef('');
  // An item that changes its place among the others loses the focus.
  useEffect(() => {
    const grip = grips.current.get(back.current);
    if (grip && document.activeElement === document.body) grip.focus();
    back.current = '';
  }, [items]);

  // Another page has changed the board: what is held is of a board that is no more.
  useEffect(() => {
    if (!held) return;
    setHeld(undefined);
    say(`${held.name} is where it was: the board has changed`);
  }, [items]);

  const own = () => held?.items.find((item) => item.id === held.id);
  /** @param {{ id: string, name: string }} of @param {Item[]} next */
  const hold = ({ id, name }, next) => {
    const item = next.find((one) => one.id === id);
    setHeld({ id, name, items: next });
    if (item) say(where(item));
  };
  const drop = () => {
    const item = own();
    if (!held || !item) return;
    say(`${held.name} put down: ${where(item)}`);
    setHeld(undefined);
    if (held.items === items) return;
    back.current = held.id;
    commit(held.items);
  };
  const undo = () => {
    if (held) say(`${held.name} is where it was`);
    drag.current = undefined;
    setHeld(undefined);
  };

  /** @param {Item} item @param {string} name @param {boolean} size */
  const pointer = (item, name, size) => ({
    onPointerDown: (/** @type {PointerEvent & { currentTarget: HTMLElement }} */ event) => {
      if (event.button !== 0 || held) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      drag.current = {
        item,
        name,
        size,
        x: event.clientX,
        y: event.clientY + window.scrollY,
        moved: false,
      };
    },
    onPointerMove: (/** @type {PointerEvent} */ event) => {
      const from = drag.current;
      const box = grid.current?.getBoundingClientRect();
      if (!from || !box) return;
      if (event.clientY > window.innerHeight - EDGE) window.scrollBy(0, 14);
      else if (event.clientY < EDGE) window.scrollBy(0, -14);
      const dx = Math.round((event.clientX - from.x) / ((box.width + GAP) / COLUMNS));
      const dy = Math.round((event.clientY + window.scrollY - from.y) / ROW);
      if (!from.moved && dx === 0 && dy === 0) return;
      from.moved = true;
      const { x, y, w, h } = from.item;
      hold(
        { id: item.id, name },
        placed(
          items,
          item.id,
          size
            ? { x, y, w: Math.min(w + dx, COLUMNS - x), h: h + dy }
            : { x: x + dx, y: y + dy, w, h },
        ),
      );
    },
    onPointerUp: () => {
      if (drag.current?.moved) drop();
      else drag.current = undefined;
    },
    onPointerCancel: undo,
  });

  return {
    items: held?.items ?? items,
    id: held?.id,
    said,
    /** @param {Item} item */
    corner: (item) => pointer(item, item.title ?? item.metric, true),
    /** @param {Item} item @param {string} name */
    grip: (item, name) => ({
      ...pointer(item, name, false),
      ref: (/** @type {HTMLElement | null} */ element) => {
        if (element) grips.current.set(item.id, element);
        else grips.current.delete(item.id);
      },
      'aria-label': `Move ${name}`,
      'aria-describedby': 'board-how',
      'aria-pressed': held?.id === item.id,
      title: 'Move',
      onClick: () => {
        const dragged = drag.current?.moved;
        drag.current = undefined;
        if (dragged) return;
        if (held) return drop();
        setHeld({ id: item.id, name, items });
        return say(
          `${name} picked up: ${where(item)}. ` +
            'Arrows move it, Shift and arrows resize it, Enter puts it down, Escape undoes.',
        );
      },
      onBlur: () => {
        if (!drag.current) drop();
      },
      onKeyDown: (/** @type {KeyboardEvent} */ event) => {
        const arrow = ARROWS[event.key];
        if (held?.id !== item.id || (!arrow && event.key !== 'Escape')) return;
        event.preventDefault();
        if (!arrow) return undo();
        const [dx, dy] = arrow;
        const place = own();
        const by = event.shiftKey ? { w: dx, h: dy } : { x: dx, y: dy };
        if (event.shiftKey && dx > 0 && place && place.x + place.w >= COLUMNS)
          return say('as wide as there is room');
        const next = stepped(held.items, item.id, by);
        if (next === held.items) say('no further');
        else hold(held, next);
        return undefined;
      },
    }),
  };
}
