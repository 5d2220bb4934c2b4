// Keeps the drawing of a chart as it should be: drawn anew at most once a frame, where its numbers,
// its place, the scheme, the zone or what is read change, and on paper in light colours.
//
// The pointer and the arrows read a point; a drag, or Shift and arrows and then Enter, choose a
// range; Escape leaves. Knows nothing of legends and tables.

import { useEffect, useRef, useState } from 'preact/hooks';
import { fmt, scheme, zone } from '../data/settings.js';
import { nearest, rangeOf } from '../lib/scale.js';
import { draw } from './draw.js';

/** @import {Chart, Line} from '../lib/series.js' */
/** @import {Box, Drawing} from './draw.js' */

/**
 * @typedef {{ canvas: HTMLCanvasElement, width: number, drawing: Drawing | undefined,
 *   box: Box | undefined }} Plot
 */

/** How far a pointer goes before it drags, in pixels. */
const DRAG = 4;

/** @type {Map<Element, Plot>} */
const plots = new Map();
/** @type {Set<Plot>} */
const waiting = new Set();

/** @param {Plot} plot @param {string} [colours] */
function paint(plot, colours = scheme.peek()) {
  waiting.delete(plot);
  if (plot.drawing && plot.width > 0)
    plot.box = draw(plot.canvas, plot.drawing, plot.width, colours);
}

/** @param {Plot} plot */
function paintSoon(plot) {
  if (waiting.size === 0) requestAnimationFrame(() => waiting.forEach((one) => paint(one)));
  waiting.add(plot);
}

const observer = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const plot = plots.get(target);
    if (!plot || plot.width === contentRect.width) continue;
    plot.width = contentRect.width;
    paint(plot);
  }
});
addEventListener('beforeprint', () => plots.forEach((plot) => paint(plot, 'light')));
addEventListener('afterprint', () => plots.forEach((plot) => paint(plot)));

/**
 * What is read and chosen.
 * @typedef {{ at?: number, from?: number, byKey?: boolean }} Reading
 */

/**
 * @param {{ current: HTMLElement | null }} ref of an element with a canvas in it
 * @param {object} how
 * @param {Chart} how.chart
 * @param {Line[]} how.lines those that are shown
 * @param {number} how.usual the point whose numbers are said while none is read
 * @param {number} how.height
 * @param {((from: number, to: number) => void) | undefined} how.onRange
 * @param {boolean} how.off whether there is no such element
 */
export function useCanvas(ref, { chart, lines, usual, height, onRange, off }) {
  const [reading, read] = useState(/** @type {Reading} */ ({}));
  const { times } = chart;
  const { at, from } = reading;
  const [formats, place] = [fmt.value, zone.value];

  useEffect(() => {
    const element = ref.current;
    const canvas = element?.querySelector('canvas');
    if (off || !element || !canvas) return undefined;
    const plot = { canvas, width: 0, drawing: undefined, box: undefined };
    plots.set(element, plot);
    observer.observe(element);
    return () => {
      observer.unobserve(element);
      plots.delete(element);
      waiting.delete(plot);
    };
  }, [off]);

  useEffect(() => {
    const plot = ref.current && plots.get(ref.current);
    if (!plot) return;
    plot.drawing = { chart, lines, usual, height, at, from, fmt: formats, zone: place };
    paintSoon(plot);
  }, [
    chart,
    lines.map((line) => line.key).join('\n'),
    height,
    at,
    from,
    formats,
    scheme.value,
    off,
  ]);

  return {
    reading,
    events: { ...pointer(ref, times, read, onRange), ...keyboard(times, reading, read, onRange) },
  };
}

/**
 * @param {{ current: HTMLElement | null }} ref
 * @param {number[]} times
 * @param {(reading: Reading) => void} read
 * @param {((from: number, to: number) => void) | undefined} onRange
 */
function pointer(ref, times, read, onRange) {
  const drag = useRef(/** @type {{ x: number, at: number } | undefined} */ (undefined));
  const end = () => {
    drag.current = undefined;
    read({});
  };
  /** @param {PointerEvent} event */
  const pointAt = ({ clientX }) => {
    const box = ref.current ? plots.get(ref.current)?.box : undefined;
    if (!ref.current || !box) return -1;
    const share = (clientX - ref.current.getBoundingClientRect().left - box.left) / box.width;
    return nearest(times, box.first + share * (box.last - box.first));
  };
  /** Where the drag began, once it is one. @param {PointerEvent} event */
  const begun = ({ clientX }) =>
    drag.current && Math.abs(clientX - drag.current.x) >= DRAG ? drag.current.at : undefined;
  return {
    onPointerDown: (/** @type {PointerEvent} */ event) => {
      const at = pointAt(event);
      if (!onRange || at < 0 || event.button !== 0) return;
      drag.current = { x: event.clientX, at };
      ref.current?.setPointerCapture(event.pointerId);
    },
    onPointerMove: (/** @type {PointerEvent} */ event) => {
      const at = pointAt(event);
      if (at >= 0) read({ at, from: begun(event) });
    },
    onPointerUp: (/** @type {PointerEvent} */ event) => {
      const [from, at] = [begun(event), pointAt(event)];
      drag.current = undefined;
      if (from === undefined || at < 0) return;
      end();
      onRange?.(...rangeOf(times, from, at));
    },
    onPointerCancel: end,
    onPointerLeave: () => {
      if (!drag.current) end();
    },
  };
}

/**
 * @param {number[]} times @param {Reading} reading @param {(reading: Reading) => void} read
 * @param {((from: number, to: number) => void) | undefined} onRange
 */
function keyboard(times, { at, from }, read, onRange) {
  const last = times.length - 1;
  return {
    onBlur: () => read({}),
    onKeyDown: (/** @type {KeyboardEvent} */ event) => {
      if (last < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
      const here = Math.min(at ?? last + 1, last + 1);
      const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
      if (to !== undefined) {
        const next = Math.max(0, Math.min(last, to));
        read({
          at: next,
          from: event.shiftKey && onRange ? (from ?? Math.min(here, last)) : undefined,
          byKey: true,
        });
      } else if (event.key === 'Enter' && from !== undefined && at !== undefined && at <= last) {
        read({ at, byKey: true });
        onRange?.(...rangeOf(times, Math.min(from, last), at));
      } else if (event.key === 'Escape' && at !== undefined) {
        read({});
      } else {
        return;
      }
      event.preventDefault();
    },
  };
}
