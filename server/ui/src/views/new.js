// A metric in a minute, without code: choose among the fields of recent events, see it counted,
// take the section or add it.
//
// What is chosen is in the address. The server judges, and its faults stand at their fields. What
// is done with the section is in `new-add.js`.

import { useEffect, useId, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { useLoaded } from '../data/loaded.js';
import { fmt } from '../data/settings.js';
import { paramsOf } from '../lib/address.js';
import { faultsBelow, nameFor } from '../lib/draft.js';
import { fields as fieldsOf, params as read, placed, texts } from '../lib/form.js';
import { canonical } from '../lib/question.js';
import { builderOf, settings, toml } from '../lib/section.js';
import { Download } from '../parts/actions.js';
import { Card, View } from '../parts/card.js';
import { Fields } from '../parts/fields.js';
import { Code, Failure, Faults, Pending, State } from '../parts/state.js';
import { href, route, withQuery } from '../router.js';
import { Add, Added } from './new-add.js';
import { Cells, Keys } from './new-columns.js';
import { Preview } from './new-preview.js';

/** @import {Previewed} from './new-preview.js' */
/** @import {Sections} from './new-add.js' */
/** @import {Fault, Params, Schema} from '../types' */
/** @import {Builder, Config, EventField} from '../lib/section.js' */

/** Choosing pauses this long before the preview is asked. */
const PAUSE_MS = 500;

/** What the address says. */
function useDraft() {
  const { name = '', plugin, config, params, more } = route.value.query;
  return useMemo(
    () => ({
      name,
      plugin,
      config: /** @type {Config | undefined} */ (paramsOf(config)),
      params: paramsOf(params) ?? {},
      more: paramsOf(more) ?? {},
    }),
    [name, plugin, config, params, more],
  );
}

/**
 * A form for an object that is kept elsewhere: what is half typed stays here.
 * @param {{ schema: Schema, value: Params, faults?: Record<string, string[]>,
 *   onChange: (value: Params) => void }} props
 */
function Form({ schema, value, faults = {}, onChange }) {
  const all = useMemo(() => fieldsOf(schema), [canonical(schema)]);
  const [typed, setTyped] = useState(() => texts(all, value));
  const [own, setOwn] = useState(/** @type {Record<string, string[]>} */ ({}));
  const said = useRef(canonical(value));
  useEffect(() => {
    if (canonical(value) === said.current) return;
    said.current = canonical(value);
    setTyped(texts(all, value));
  }, [value]);
  /** @param {ReturnType<typeof texts>} next */
  const change = (next) => {
    setTyped(next);
    const { params: made, faults: wrong } = read(all, next, value);
    setOwn(placed(all, wrong).at);
    said.current = canonical(made);
    onChange(made);
  };
  return html`<${Fields}
    fields=${all}
    typed=${typed}
    faults=${{ ...faults, ...own }}
    onChange=${change}
  />`;
}

export function NewMetric() {
  /**
   * @type {import('../data/loaded.js').Loaded<{ plugins: { name: string,
   *   config_schema: Schema }[] }>}
   */
  const plugins = useLoaded('api/plugins');
  const builders = useMemo(
    () => (plugins.data?.plugins ?? []).flatMap((plugin) => builderOf(plugin) ?? []),
    [plugins.data],
  );
  const builder = builders.find((one) => one.plugin === route.value.query.plugin) ?? builders[0];
  return html`<${View}
    title="New metric"
    json="api/fields"
    lead="from the fields of recent events, without code"
    tools=${html`<a href=${href('plugins')}>All plugins</a>`}
  >
    ${
      builder
        ? html`<${Draft} builder=${builder} builders=${builders} />`
        : html`<${Card} title="Count by">
            <${Pending} of=${plugins} />
            ${
              plugins.data
                ? html`<${State}
                    kind="params-missing"
                    title="No plugin here can be configured this way"
                  >
                    ${'Put a plugin with a configuration of columns into a plugin folder. '}
                    <button type="button" onClick=${plugins.again}>Refresh</button>
                  <//>`
                : null
            }
          <//>`
    }
  <//>`;
}

/** @param {{ builder: Builder, builders: Builder[] }} props */
function Draft({ builder, builders }) {
  const { plugin } = builder;
  const { name, config = builder.begin, params, more } = useDraft();
  /** @type {import('../data/loaded.js').Loaded<{ records: number, fields: EventField[] }>} */
  const found = useLoaded('api/fields');
  /** @type {Sections} */
  const sections = useLoaded('api/sections');
  const [refused, setRefused] = useState(/** @type {Fault[]} */ ([]));
  const id = useId();
  const fields = found.data?.fields ?? [];
  const ready = Object.keys(config.cells ?? {}).length > 0;
  /** @type {import('../data/loaded.js').Loaded<Previewed>} */
  const preview = useLoaded(ready ? 'api/preview' : undefined, {
    body: { plugin, config, params },
    pause: PAUSE_MS,
  });
  const errors = [...(preview.problem?.errors ?? []), ...refused];
  const faults = faultsBelow(errors, '/config');
  const schema = useMemo(() => settings(builder, fields), [builder, found.data]);
  const made = nameFor(config);
  const section = { plugin, ...more, config };
  const written = toml(name || made, section);
  const set = (/** @type {Record<string, any>} */ part) => {
    setRefused([]);
    withQuery(
      Object.fromEntries(
        Object.entries(part).map(([key, value]) => [
          key,
          typeof value === 'string' ? value : JSON.stringify(value),
        ]),
      ),
    );
  };
  const chosen = {
    builder,
    fields,
    config,
    faults,
    onChange: (/** @type {Config} */ next) => set({ config: next }),
  };
  return html`<div class="two">
    <div class="stack">
      <${Card}
        class="pick"
        title="Count by"
        note=${
          found.data
            ? `fields of the newest ${fmt.value.count(found.data.records, 'record')}`
            : null
        }
        tools=${html`
          ${
            builders.length > 1
              ? html`<select
                  aria-label="plugin"
                  value=${plugin}
                  onChange=${(/** @type {any} */ event) =>
                    set({ plugin: event.currentTarget.value, config: '', params: '' })}
                >
                  ${builders.map((one) => html`<option key=${one.plugin}>${one.plugin}</option>`)}
                </select>`
              : null
          }
          <button type="button" onClick=${found.again}>Refresh</button>
        `}
      >
        <${Pending} of=${found} />
        ${
          found.data
            ? html`
                ${found.problem ? html`<${Failure} problem=${found.problem} />` : null}
                ${
                  found.data.records > 0
                    ? html`<${Keys} ...${chosen} />`
                    : html`<${State} kind="empty" command="tally produce --count 1000" />`
                }
              `
            : null
        }
      <//>
      <${Card} title="What to count">
        <${Cells} ...${chosen} />
        <div class="below">
          <${Form}
            key=${plugin}
            schema=${schema}
            value=${config}
            faults=${faults}
            onChange=${chosen.onChange}
          />
        </div>
      <//>
    </div>
    <div class="stack">
      <${Preview} found=${preview} ready=${ready}>
        <${Ask}
          key=${plugin}
          schema=${preview.data?.params_schema}
          value=${params}
          errors=${errors}
          onChange=${(/** @type {Params} */ next) => set({ params: next })}
        />
      <//>
      <${Card}
        title="Section"
        tools=${html`<${Download}
          name=${`${name || made}.toml`}
          type="application/toml"
          content=${() => written}
        >
          TOML
        <//>`}
      >
        <div class="field">
          <label for=${id}>Name</label>
          <div class="field-row">
            <input
              id=${id}
              type="text"
              autocomplete="off"
              spellcheck="false"
              placeholder=${made}
              value=${name}
              aria-describedby=${`${id}-faults`}
              onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })}
            />
            ${
              name === ''
                ? html`<button type="button" onClick=${() => set({ name: made })}>
                    Use this name
                  </button>`
                : null
            }
          </div>
          <div id=${`${id}-faults`}>
            <${Faults} faults=${refused.filter(({ pointer }) => pointer === '')} />
          </div>
        </div>
        <${Code} text=${written} label="section" />
      <//>
      <${Add}
        name=${name}
        section=${section}
        sections=${sections}
        ready=${ready}
        onFaults=${setRefused}
      />
      <${Added} sections=${sections} builders=${builders} />
    </div>
  </div>`;
}

/**
 * What is asked of the preview. What can be asked is known once there was an answer.
 * @param {{ schema: Schema | undefined, value: Params, errors: Fault[],
 *   onChange: (value: Params) => void }} props
 */
function Ask({ schema, value, errors, onChange }) {
  if (!schema)
    return Object.keys(value).length > 0
      ? html`<p><button type="button" onClick=${() => onChange({})}>Clear params</button></p>`
      : null;
  return html`<details class="ask">
    <summary>Params</summary>
    <${Form}
      schema=${schema}
      value=${value}
      faults=${faultsBelow(errors, '/params')}
      onChange=${onChange}
    />
  </details>`;
}
