// Draws a chart on a canvas: its axes, lines or areas on top of each other, the point that is read
// and the range that is chosen.
//
// Steps that the window cuts are dashed, or hatched in areas. The numbers that the legend says are
// marked by the shapes that it has. Draws what it is given and keeps what is dear to find: ticks,
// and the colours of a scheme, which a canvas has to be told, since it knows no custom properties.
// Nothing moves by itself.

import { isWritten } from '../lib/format.js';
import { extremes, scaleOf } from '../lib/scale.js';
import { stack } from '../lib/series.js';
import { timeTicks } from '../lib/ticks.js';
import { colourName } from './colour.js';
import { shape } from './shape.js';

/** @import {Formats} from '../lib/format.js' */
/** @import {Chart, Line} from '../lib/series.js' */

/**
 * @typedef {object} Drawing
 * @property {Chart} chart
 * @property {Line[]} lines those that are shown
 * @property {number} usual the point that has the shapes while none is read
 * @property {number} height
 * @property {number | undefined} at the point that is read
 * @property {number | undefined} from where a range begins, which ends at `at`
 * @property {Formats} fmt
 * @property {string} zone
 */
/**
 * Where the points are: a time is at `left` and `width` times its share of what is between the
 * first and the last one.
 * @typedef {{ left: number, width: number, first: number, last: number }} Box
 */

/** Room of a label on either axis, and of the axes themselves. */
const [WIDE, HIGH, BELOW] = [64, 34, 22];

/** @type {Map<string, (colour: string) => string>} */
const palettes = new Map();

/** @type {Map<string, import('../lib/ticks.js').Tick[]>} */
const known = new Map();

/** @param {number} from @param {number} to @param {number} most @param {string} zone */
function ticksOf(from, to, most, zone) {
  const key = `${from} ${to} ${most} ${zone}`;
  const before = known.get(key);
  if (before) return before;
  if (known.size > 64) known.clear();
  const made = timeTicks(from, to, most, zone);
  known.set(key, made);
  return made;
}

/** How colours, and the font, are told to a canvas. @param {string} scheme */
function palette(scheme) {
  const made = palettes.get(scheme);
  if (made) return made;
  /** @type {Map<string, string>} */
  const told = new Map();
  const read = (/** @type {string} */ colour) => {
    const before = told.get(colour);
    if (before) return before;
    const probe = document.createElement('i');
    probe.style.colorScheme = scheme;
    probe.style.color = colour;
    document.body.append(probe);
    const style = getComputedStyle(probe);
    const text = colour === 'font' ? `11px ${style.fontFamily}` : style.color;
    probe.remove();
    told.set(colour, text);
    return text;
  };
  palettes.set(scheme, read);
  return read;
}

/**
 * As wide and as sharp as it is seen; empty.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function blank(canvas, width, height) {
  const pen = canvas.getContext('2d');
  if (!pen) return undefined;
  const ratio = devicePixelRatio || 1;
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) {
    Object.assign(canvas, { width: across, height: down });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

/** @param {Drawing} drawing @param {(number | null)[][]} rows as they are drawn */
function scale({ lines, height }, rows) {
  let [least, most] = [0, 0];
  for (const row of rows) {
    for (const value of row) {
      if (value !== null && value < least) least = value;
      if (value !== null && value > most) most = value;
    }
  }
  const unit = lines.every((line) => line.unit === lines[0].unit) ? (lines[0]?.unit ?? '') : '';
  const whole = rows.every((row) =>
    row.every((value) => value === null || Number.isInteger(value)),
  );
  return { unit, ...scaleOf(least, most, Math.floor((height - BELOW) / HIGH), unit, whole) };
}

/**
 * Paths of one line: the steps that are whole, those that are cut, and what is under it.
 * @param {(number | null)[]} row
 * @param {boolean[]} partial
 * @param {Float64Array} xs
 * @param {(value: number) => number} y
 */
function paths(row, partial, xs, y) {
  const [whole, cut, area] = [new Path2D(), new Path2D(), new Path2D()];
  let begun = -1;
  for (let at = 0; at <= row.length; at += 1) {
    const value = row[at] ?? null;
    if (value === null) {
      if (begun >= 0) area.lineTo(xs[at - 1], y(0));
      // A point between two gaps is a dot.
      if (begun >= 0 && begun === at - 1) whole.arc(xs[begun], y(row[begun] ?? 0), 1.5, 0, 7);
      begun = -1;
      continue;
    }
    if (begun < 0) {
      begun = at;
      area.moveTo(xs[at], y(0));
      whole.moveTo(xs[at], y(value));
    } else if (partial[at] || partial[at - 1]) {
      cut.moveTo(xs[at - 1], y(row[at - 1] ?? 0));
      cut.lineTo(xs[at], y(value));
      whole.moveTo(xs[at], y(value));
    } else {
      whole.lineTo(xs[at], y(value));
    }
    area.lineTo(xs[at], y(value));
  }
  return { whole, cut, area };
}

/**
 * Oblique strokes over the steps that are cut.
 * @param {CanvasRenderingContext2D} pen
 * @param {Path2D} area
 * @param {boolean[]} partial
 * @param {Float64Array} xs
 * @param {number} height
 */
function hatch(pen, area, partial, xs, height) {
  pen.save();
  pen.clip(area);
  partial.forEach((cut, at) => {
    const [from, to] = [xs[Math.max(0, at - 1)], xs[at]];
    const [left, right] = at === 0 ? [xs[0], xs[1] ?? xs[0]] : [from, to];
    if (!cut || right <= left) return;
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left, height);
    pen.clip();
    pen.beginPath();
    for (let x = left - (left % 7) - height; x < right; x += 7) {
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
    }
    pen.stroke();
    pen.restore();
  });
  pen.restore();
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {string} key
 * @param {number} x
 * @param {number} y
 * @param {string} fill
 * @param {string} edge
 */
function mark(pen, key, x, y, fill, edge) {
  const path = new Path2D();
  path.addPath(new Path2D(shape(key)), new DOMMatrix([0.8, 0, 0, 0.8, x - 4, y - 4]));
  Object.assign(pen, { fillStyle: fill, strokeStyle: edge, lineWidth: 3 });
  pen.stroke(path);
  pen.fill(path);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Drawing} drawing
 * @param {number} width
 * @param {string} scheme
 * @returns {Box | undefined}
 */
export function draw(canvas, drawing, width, scheme) {
  const pen = blank(canvas, width, drawing.height);
  const {
    chart: { times, partial, stacked },
    lines,
    height,
    fmt,
  } = drawing;
  if (!pen || times.length === 0 || width < 40) return undefined;
  const ink = palette(scheme);
  const rows = stacked ? stack(lines) : lines.map((line) => line.values);
  const { low, high, ticks, unit } = scale(drawing, rows);

  pen.font = ink('font');
  const texts = ticks.map((value) => fmt.axis(value, unit));
  const above = isWritten(unit) ? '' : unit;
  const [top, bottom] = [above ? 20 : 8, height - BELOW];
  const left =
    8 * Math.ceil((extremes(texts.map((text) => pen.measureText(text).width))[1] + 8) / 8);
  const box = { left, width: width - left - 8, first: times[0], last: times[times.length - 1] };
  if (times.length === 1) Object.assign(box, { first: times[0] - 1, last: times[0] + 1 });
  const x = (/** @type {number} */ time) =>
    box.left + ((time - box.first) / (box.last - box.first)) * box.width;
  const y = (/** @type {number} */ value) =>
    bottom - ((value - low) / (high - low)) * (bottom - top);
  const xs = Float64Array.from(times, x);

  axes(pen, drawing, { ink, x, y, box, ticks, texts, bottom, above });
  Object.assign(pen, { lineJoin: 'round', lineCap: 'butt' });
  const drawn = lines.map((line, n) => ({ line, row: rows[n], ...paths(rows[n], partial, xs, y) }));
  // The last area is the tallest: it is drawn first, the others over it.
  if (stacked) drawn.reverse();
  for (const { line, whole, cut, area } of drawn) {
    const name = `var(${colourName(line.key)})`;
    pen.strokeStyle = ink(name);
    pen.lineWidth = stacked ? 1 : 1.75;
    if (stacked) {
      pen.fillStyle = ink(`color-mix(in srgb, ${name} 76%, var(--card))`);
      pen.fill(area);
    }
    pen.stroke(whole);
    pen.setLineDash([4, 3]);
    pen.stroke(cut);
    pen.setLineDash([]);
  }
  if (stacked && drawn.length > 0 && partial.includes(true)) {
    Object.assign(pen, {
      lineWidth: 2,
      strokeStyle: ink('color-mix(in srgb, var(--card) 60%, transparent)'),
    });
    hatch(pen, drawn[0].area, partial, xs, height);
  }
  cursor(pen, drawing, { ink, xs, top, bottom });
  marks(pen, drawing, rows, { ink, xs, y });
  return box;
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Drawing} drawing
 * @param {{ ink: (colour: string) => string, x: (time: number) => number,
 *   y: (value: number) => number, box: Box, ticks: number[], texts: string[], bottom: number,
 *   above: string }} where
 */
function axes(
  pen,
  { chart: { times }, fmt, zone },
  { ink, x, y, box, ticks, texts, bottom, above },
) {
  const { left, width } = box;
  const [dim, line, edge] = ['--dim', '--line', '--edge'].map((name) => ink(`var(${name})`));
  Object.assign(pen, { textBaseline: 'middle', textAlign: 'right' });
  ticks.forEach((value, n) => {
    pen.fillStyle = value === 0 ? edge : line;
    pen.fillRect(left, Math.round(y(value)), width, 1);
    pen.fillStyle = dim;
    pen.fillText(texts[n], left - 8, Math.round(y(value)));
  });
  pen.textAlign = 'left';
  pen.fillText(above, 0, 6);
  pen.textAlign = 'center';
  // Not finer than the points are.
  const most = Math.max(1, Math.min(times.length - 1, Math.floor(width / WIDE)));
  for (const { time, as } of ticksOf(box.first, box.last, most, zone)) {
    const text = fmt[as](time);
    const half = pen.measureText(text).width / 2;
    pen.fillStyle = edge;
    pen.fillRect(Math.round(x(time)), bottom + 1, 1, 3);
    pen.fillStyle = dim;
    pen.fillText(text, Math.max(half, Math.min(x(time), left + width + 8 - half)), bottom + 14);
  }
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Drawing} drawing
 * @param {{ ink: (colour: string) => string, xs: Float64Array, top: number, bottom: number }} where
 */
function cursor(pen, { at, from }, { ink, xs, top, bottom }) {
  if (at === undefined || at >= xs.length) return;
  if (from !== undefined) {
    const [low, high] = [Math.min(at, from), Math.min(Math.max(at, from) + 1, xs.length - 1)];
    pen.fillStyle = ink('color-mix(in srgb, var(--accent) 18%, transparent)');
    pen.fillRect(xs[low], top, xs[high] - xs[low], bottom - top);
  }
  pen.fillStyle = ink('var(--edge)');
  pen.fillRect(Math.round(xs[at]), top, 1, bottom - top);
}

/**
 * The shapes of the lines, at the point that is read.
 * @param {CanvasRenderingContext2D} pen
 * @param {Drawing} drawing
 * @param {(number | null)[][]} rows
 * @param {{ ink: (colour: string) => string, xs: Float64Array,
 *   y: (value: number) => number }} where
 */
function marks(pen, { chart: { stacked }, lines, at, usual }, rows, { ink, xs, y }) {
  const point = at !== undefined && at < xs.length ? at : usual;
  lines.forEach(({ key, values }, n) => {
    const value = rows[n][point] ?? null;
    if (value === null || (stacked && !values[point])) return;
    mark(pen, key, xs[point], y(value), ink(`var(${colourName(key)})`), ink('var(--card)'));
  });
}
