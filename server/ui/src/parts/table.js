// A table that is sorted by its heads, by pointer and keyboard alike. Long ones show a part, and
// the rest when asked to.

import { useMemo, useState } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { order } from '../lib/order.js';

/**
 * @template Row
 * @typedef {object} TableColumn
 * @property {string} key
 * @property {any} [title] its key without
 * @property {string} [help]
 * @property {boolean} [end] whether its cells stand at the right
 * @property {boolean} [tight] whether it is as narrow as its cells
 * @property {boolean} [head] whether its cells name their rows
 * @property {string} [class]
 * @property {(row: Row) => any} [sort] what it is sorted by; it is not sorted without
 * @property {(row: Row, index: number) => any} cell `index` as the rows were given
 */

/**
 * @template Row
 * @param {object} props
 * @param {TableColumn<Row>[]} props.columns
 * @param {Row[]} props.rows
 * @param {string} props.caption for screen readers, unless `visibleCaption`
 * @param {(row: Row, index: number) => string | number} [props.rowKey]
 * @param {{ key: string, down?: boolean }} [props.sorted] at first
 * @param {number} [props.most] rows shown before more is asked for
 * @param {any} [props.empty] shown without rows
 * @param {boolean} [props.tall] whether it scrolls in itself
 * @param {boolean} [props.scrolls] whether the keyboard can scroll it: for one that may be wide and
 *   has no button
 * @param {boolean} [props.stacks] whether a row becomes a list of labels and values where there is
 *   no room for columns
 * @param {(row: Row) => boolean} [props.selected]
 */
export function Table({
  columns,
  rows,
  caption,
  rowKey,
  sorted,
  most = 50,
  empty = 'nothing here',
  tall = false,
  scrolls = tall,
  stacks = false,
  selected,
}) {
  const [by, setBy] = useState(sorted);
  const [limit, setLimit] = useState(most);
  const column = columns.find((one) => one.key === by?.key);
  const ordered = useMemo(() => {
    const numbered = rows.map((row, index) => ({ row, index }));
    const sort = column?.sort;
    if (!sort) return numbered;
    const way = by?.down ? -1 : 1;
    return numbered.sort((a, b) => order(sort(a.row), sort(b.row), way) || a.index - b.index);
  }, [rows, column, by?.down]);
  if (rows.length === 0) return html`<p class="dim">${empty}</p>`;
  const shown = ordered.slice(0, limit);

  /** @param {TableColumn<Row>} of */
  const titleOf = (of) => of.title ?? of.key;
  /** @param {TableColumn<Row>} of */
  const name = (of) => `${of.end ? 'end' : ''} ${of.tight ? 'tight' : ''} ${of.class ?? ''}`;
  /** @param {TableColumn<Row>} of */
  const press = (of) =>
    setBy(
      by?.key === of.key ? { key: of.key, down: !by.down } : { key: of.key, down: Boolean(of.end) },
    );
  /** @param {TableColumn<Row>} of */
  const head = (of) => {
    const state =
      by?.key === of.key ? (by.down ? 'descending' : 'ascending') : of.sort ? 'none' : undefined;
    const arrow = state === 'descending' ? '▼' : state === 'ascending' ? '▲' : '';
    const inner = of.sort
      ? html`<button type="button" onClick=${() => press(of)}>
          ${titleOf(of)}
          <span class="arrow" aria-hidden="true">${arrow}</span>
        </button>`
      : titleOf(of);
    return html`<th key=${of.key} scope="col" title=${of.help} class=${name(of)} aria-sort=${state}>
      ${inner}
    </th>`;
  };
  /** @param {TableColumn<Row>} of @param {Row} row @param {number} index */
  const cell = (of, row, index) =>
    of.head
      ? html`<th key=${of.key} scope="row" class=${name(of)}>${of.cell(row, index)}</th>`
      : html`<td key=${of.key} class=${name(of)} data-label=${stacks ? titleOf(of) : undefined}>
          ${of.cell(row, index)}
        </td>`;
  return html`<div
    class=${`table-box ${tall ? 'tall' : ''}`}
    tabindex=${scrolls ? 0 : undefined}
    role=${scrolls ? 'region' : undefined}
    aria-label=${scrolls ? caption : undefined}
  >
    <table class=${`table ${stacks ? 'stacks' : ''}`}>
      <caption class="sr-only">${caption}</caption>
      <thead><tr>${columns.map(head)}</tr></thead>
      <tbody>
        ${shown.map(
          ({ row, index }) =>
            html`<tr
              key=${rowKey ? rowKey(row, index) : index}
              aria-selected=${selected?.(row) ? 'true' : undefined}
            >
              ${columns.map((of) => cell(of, row, index))}
            </tr>`,
        )}
      </tbody>
    </table>
    ${
      rows.length > limit
        ? html`<p class="more-rows">
            ${fmt.value.number(limit)} of ${fmt.value.number(rows.length)} rows <button
              type="button"
              onClick=${() => setLimit(limit + 500)}
            >
              Show more
            </button>
          </p>`
        : null
    }
  </div>`;
}
