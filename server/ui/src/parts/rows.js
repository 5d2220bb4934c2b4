// A long list of which only the rows in sight are in the document. All rows are equally high.
//
// One row at a time can be tabbed to; arrows, Page Up and Down, Home and End move. A row's content
// has one element with the `tie` that it is given, which takes the focus. When the list is scrolled
// away under the focus, the focus moves to the next row in sight.

import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';

/** Rows beyond the edges. */
const BEYOND = 4;

/**
 * @param {object} props
 * @param {number} props.count
 * @param {(index: number, tie: { tabindex: number, 'data-row': number }) => any} props.row
 * @param {number} props.height of a row, pixels
 * @param {string} props.label
 * @param {boolean} [props.log] whether it is a log that grows by itself; nothing of it is announced
 * @param {(held: boolean) => void} [props.onHold] whether somebody reads in it: it is scrolled, or
 *   a row has the focus
 * @param {() => void} [props.onEnd] somebody goes beyond the last row by key
 * @param {string} [props.class]
 */
export function Rows({ count, row, height, label, log = false, onHold, onEnd, class: name = '' }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [top, setTop] = useState(0);
  const [tall, setTall] = useState(600);
  const [at, setAt] = useState(0);
  const move = useRef(false);
  const inside = useRef(false);
  const first = Math.max(0, Math.min(Math.floor(top / height), count - 1) - BEYOND);
  const last = Math.min(count, Math.ceil((top + tall) / height) + BEYOND);
  const current = Math.min(Math.max(at, first), Math.max(first, last - 1));

  useLayoutEffect(() => {
    if (!box.current) return undefined;
    const { current: element } = box;
    const watcher = new ResizeObserver(() => setTall(element.clientHeight));
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!move.current) return;
    move.current = false;
    /** @type {HTMLElement | null | undefined} */ (
      box.current?.querySelector(`[data-row="${current}"]`)
    )?.focus({ preventScroll: true });
  });
  const hold = () => onHold?.(inside.current || (box.current?.scrollTop ?? 0) > height / 2);
  /** @param {KeyboardEvent} event */
  const key = (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !box.current) return;
    const page = Math.max(1, Math.floor(tall / height) - 1);
    const to = {
      ArrowDown: current + 1,
      ArrowUp: current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: count - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= current && current === count - 1) onEnd?.();
    const next = Math.max(0, Math.min(count - 1, to));
    const { scrollTop } = box.current;
    box.current.scrollTop = Math.min(
      next * height,
      Math.max(scrollTop, (next + 1) * height - tall),
    );
    setTop(box.current.scrollTop);
    setAt(next);
    move.current = true;
  };
  const entered = () => {
    inside.current = true;
    hold();
  };
  const left = (/** @type {FocusEvent} */ event) => {
    if (event.relatedTarget instanceof Node && box.current?.contains(event.relatedTarget)) return;
    inside.current = false;
    hold();
  };
  const scrolled = () => {
    const now = box.current?.scrollTop ?? 0;
    const focused =
      box.current?.contains(document.activeElement) && document.activeElement instanceof HTMLElement
        ? Number(document.activeElement.dataset.row)
        : NaN;
    const seen = Math.max(
      Math.ceil(now / height),
      Math.min(focused, Math.floor((now + tall) / height) - 1),
    );
    if (Number.isFinite(seen) && seen !== focused) {
      // The row goes: the list holds the focus until another row is there.
      box.current?.focus({ preventScroll: true });
      setAt(seen);
      move.current = true;
    }
    setTop(now);
    hold();
  };
  const rows = [];
  for (let index = first; index < last; index += 1) {
    rows.push(
      html`<li
        key=${index}
        aria-setsize=${count}
        aria-posinset=${index + 1}
        style=${{ height: `${height}px` }}
      >
        ${row(index, { tabindex: index === current ? 0 : -1, 'data-row': index })}
      </li>`,
    );
  }
  return html`<div
    class=${`rows ${name}`}
    ref=${box}
    tabindex="-1"
    role=${log ? 'log' : 'region'}
    aria-live=${log ? 'off' : undefined}
    aria-label=${label}
    onKeyDown=${key}
    onFocusIn=${entered}
    onFocusOut=${left}
    onScroll=${scrolled}
  >
    <ul style=${{ height: `${count * height}px`, paddingTop: `${first * height}px` }}>${rows}</ul>
  </div>`;
}
