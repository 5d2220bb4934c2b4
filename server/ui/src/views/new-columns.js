// What a new metric counts by, and what it counts: chosen among the fields of recent events.

import { useId, useState } from 'preact/hooks';
import { html } from '../html.js';
import { fmt } from '../data/settings.js';
import { cellName, cellsOf, columnOf, configWith, fieldsFor, whyNoKey } from '../lib/section.js';
import { Icon } from '../parts/icons.js';
import { Faults } from '../parts/state.js';
import { Table } from '../parts/table.js';
import { Foreign } from '../parts/values.js';

/** @import {Builder, Cell, Config, EventField} from '../lib/section.js' */

/**
 * @typedef {{ builder: Builder, fields: EventField[], config: Config,
 *   faults: Record<string, string[]>, onChange: (config: Config) => void }} Chosen
 */

/**
 * What is wrong at a pointer or below it.
 * @param {Record<string, string[]>} faults
 * @param {string} at
 */
const faultsAt = (faults, at) =>
  Object.entries(faults).flatMap(([pointer, all]) =>
    pointer === at || pointer.startsWith(`${at}/`) ? all : [],
  );

/**
 * The fields of recent events, with what each has; pressed ones are counted by.
 * @param {Chosen} props
 */
export function Keys({ builder, fields, config, faults, onChange }) {
  const by = config.by ?? [];
  const gone = by.filter((of) => !fields.some((field) => columnOf(builder, field) === of));
  /** @type {EventField[]} */
  const rows = [
    ...gone.map((pointer) => ({ pointer, as: 'text', types: {}, share: 0, examples: [] })),
    ...fields,
  ];
  const press = (/** @type {string} */ of) =>
    onChange(
      configWith(builder, config, fields, {
        by: by.includes(of) ? by.filter((one) => one !== of) : [...by, of],
      }),
    );
  /** @type {import('../parts/table.js').TableColumn<EventField>[]} */
  const columns = [
    {
      key: 'by',
      tight: true,
      cell: (field) => {
        const of = columnOf(builder, field);
        const on = by.includes(of);
        const why = on
          ? ''
          : whyNoKey(builder, field) ||
            (by.length >= builder.mostKeys ? `at most ${builder.mostKeys} can be chosen` : '');
        return html`<button
          type="button"
          aria-pressed=${on}
          disabled=${why !== ''}
          title=${why || undefined}
          onClick=${() => press(of)}
        >
          ${on ? by.indexOf(of) + 1 : '+'}
          <span class="sr-only"> count by ${of}${why && `: ${why}`}</span>
        </button>`;
      },
    },
    {
      key: 'field',
      head: true,
      class: 'text',
      cell: (field) => html`<code><${Foreign} text=${columnOf(builder, field)} /></code>`,
    },
    {
      key: 'type',
      tight: true,
      class: 'extra',
      cell: ({ as, types }) =>
        (as ? Object.keys(typeof as === 'object' ? as : { [as]: 0 }) : Object.keys(types)).join(
          ', ',
        ),
    },
    {
      key: 'share',
      end: true,
      tight: true,
      class: 'spare',
      help: 'of the records that have it',
      cell: ({ share }) => fmt.value.share(share),
    },
    {
      key: 'distinct',
      end: true,
      tight: true,
      class: 'spare',
      help: 'values',
      cell: ({ distinct }) => (distinct ? fmt.value.number(distinct) : 'many'),
    },
    {
      key: 'examples',
      class: 'text',
      cell: ({ examples }) =>
        html`<${Foreign}
          class="dim"
          text=${examples
            .slice(0, 4)
            .map((one) => (typeof one === 'string' ? one : JSON.stringify(one)))
            .join(', ')}
        />`,
    },
  ];
  return html`
    <${Table}
      caption="Fields of recent events"
      columns=${columns}
      rows=${rows}
      rowKey=${(/** @type {EventField} */ field) => columnOf(builder, field)}
      most=${12}
    />
    <${Faults} faults=${faultsAt(faults, '/by')} />
    ${fields
      .filter((field) => !field.distinct && by.includes(columnOf(builder, field)))
      .map(
        (field) =>
          html`<p class="warn small" key=${field.pointer}>
            <bdi>${columnOf(builder, field)}</bdi> has many values: there is a group for each,
            perhaps one for each event.
          </p>`,
      )}
  `;
}

/**
 * @param {{ builder: Builder, cell: Cell, fields: EventField[], taken: string[],
 *   faults: Record<string, string[]>, set: (cell?: Cell) => void }} props
 */
function CellRow({ builder, cell, fields, taken, faults, set }) {
  const id = useId();
  const [refused, setRefused] = useState('');
  const { name, how, of } = cell;
  const columns = (/** @type {string} */ kind) =>
    fieldsFor(builder, fields, kind).map((field) => columnOf(builder, field));
  const offered = columns(how);
  /**
   * Takes another content, and a name of it where the name was made so.
   * @param {string} how
   * @param {string} column
   */
  const become = (how, column) => {
    const fit = columns(how);
    const next = { how, of: fit.includes(column) ? column : (fit[0] ?? '') };
    set({
      ...next,
      name: name.startsWith(cellName(builder, cell))
        ? cellName(
            builder,
            next,
            taken.filter((one) => one !== name),
          )
        : name,
    });
  };
  const rename = (/** @type {any} */ { currentTarget: input }) => {
    const text = input.value.trim();
    const free = text !== '' && (text === name || !taken.includes(text));
    setRefused(free ? '' : text ? `“${text}” is already used` : 'a name is needed');
    if (free) set({ ...cell, name: text });
    else input.value = name;
  };
  const wrong = [...(refused ? [refused] : []), ...faultsAt(faults, `/cells/${name}`)];
  return html`<li class="cell-row">
    <select
      aria-label=${`what ${name} counts`}
      value=${how}
      onChange=${(/** @type {any} */ event) => become(event.currentTarget.value, of)}
    >
      ${Object.entries(builder.cells).map(
        ([key, { title, of: taken }]) =>
          html`<option key=${key} value=${key} disabled=${taken && columns(key).length === 0}>
            ${title}
          </option>`,
      )}
    </select>
    ${
      builder.cells[how] && !builder.cells[how].of
        ? html`<span></span>`
        : html`<select
            aria-label=${`column of ${name}`}
            value=${of}
            onChange=${(/** @type {any} */ event) => become(how, event.currentTarget.value)}
          >
            ${[...new Set([of, ...offered])].map(
              (column) => html`<option key=${column} value=${column}>${column}</option>`,
            )}
          </select>`
    }
    <input
      type="text"
      aria-label=${`name of ${name}`}
      aria-describedby=${wrong.length > 0 ? id : undefined}
      autocomplete="off"
      spellcheck="false"
      value=${name}
      onBlur=${rename}
      onKeyDown=${(/** @type {any} */ event) => event.key === 'Enter' && event.currentTarget.blur()}
    />
    <button type="button" class="plain" aria-label=${`Remove ${name}`} onClick=${() => set()}>
      <${Icon} name="close" size=${14} />
    </button>
    <${Faults}
      id=${id}
      faults=${wrong}
    />
  </li>`;
}

/** What each row holds. @param {Chosen} props */
export function Cells({ builder, fields, config, faults, onChange }) {
  const cells = cellsOf(config);
  const taken = cells.map((cell) => cell.name);
  const set = (/** @type {Cell[]} */ next) =>
    onChange(configWith(builder, config, fields, { cells: next }));
  const add = () => {
    // What is of no column once, then the first that has one.
    const kinds = Object.keys(builder.cells).filter((one) =>
      builder.cells[one].of
        ? fieldsFor(builder, fields, one).length > 0
        : cells.every((cell) => cell.how !== one),
    );
    const how = kinds[0] ?? Object.keys(builder.cells)[0];
    const [field] = fieldsFor(builder, fields, how);
    const made = { how, of: field ? columnOf(builder, field) : '' };
    set([...cells, { ...made, name: cellName(builder, made, taken) }]);
  };
  return html`
    <ul class="cell-rows">
      ${cells.map(
        (cell, index) => html`<${CellRow}
          key=${index}
          builder=${builder}
          cell=${cell}
          fields=${fields}
          taken=${taken}
          faults=${faults}
          set=${(/** @type {Cell | undefined} */ next) =>
            set(cells.flatMap((one, at) => (at === index ? (next ?? []) : one)))}
        />`,
      )}
    </ul>
    ${cells.length === 0 ? html`<${Faults} faults=${faultsAt(faults, '/cells')} />` : null}
    <div>
      <button type="button" disabled=${cells.length >= builder.mostCells} onClick=${add}>
        <${Icon} name="plus" size=${14} />Count more
      </button>
    </div>
  `;
}
