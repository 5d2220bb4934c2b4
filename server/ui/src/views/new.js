// A metric in a minute, without code: choose among the fields of recent events, see it counted, take
// the section or have it added.
//
// What is chosen is in the address. The server judges, and its faults stand at their fields.

import { useEffect, useId, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { ask } from '../data/api.js';
import { descriptor, refreshCatalogue } from '../data/catalogue.js';
import { paramsOf } from '../lib/address.js';
import { fields as fieldsOf, params as read, placed, texts } from '../lib/form.js';
import { useLoaded } from '../data/loaded.js';
import { canonical } from '../lib/question.js';
import { builderOf, settings, shortOf, toml } from '../lib/section.js';
import { Download } from '../parts/actions.js';
import { Card, View } from '../parts/card.js';
import { Change, Changes } from '../parts/changes.js';
import { Fields } from '../parts/fields.js';
import { Code, Failure, Faults, MetricMark, Pending, State } from '../parts/state.js';
import { fmt } from '../data/settings.js';
import { href, route, withQuery } from '../router.js';
import { Cells, Keys } from './new-columns.js';
import { Preview } from './new-preview.js';

/** @import {Previewed} from './new-preview.js' */
/** @import {Fault, Params, Schema} from '../types' */
/** @import {Builder, Config, EventField} from '../lib/section.js' */
/** @import {Problem} from '../data/api.js' */

/** @typedef {import('../data/loaded.js').Loaded<{ sections: Section[] }>} Sections */
/** @typedef {{ name: string, place: 'file' | 'data_directory', shadowed?: boolean, section: any, toml: string }} Section */

/** Choosing pauses this long before the preview is asked. */
const PAUSE_MS = 500;

/** What the address says. */
function useDraft() {
  const { name = '', plugin, config, params, more } = route.value.query;
  return useMemo(() => ({ name, plugin, config: /** @type {Config | undefined} */ (paramsOf(config)), params: paramsOf(params) ?? {}, more: paramsOf(more) ?? {} }), [name, plugin, config, params, more]);
}

/**
 * A form for an object that is kept elsewhere: what is half typed stays here.
 * @param {{ schema: Schema, value: Params, faults?: Record<string, string[]>, onChange: (value: Params) => void }} props
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
  return html`<${Fields} fields=${all} typed=${typed} faults=${{ ...faults, ...own }} onChange=${change} />`;
}

/** The faults below a member of a body, by pointer in that member. @param {Fault[]} errors @param {string} at */
function below(errors, at) {
  /** @type {Record<string, string[]>} */
  const found = {};
  for (const { pointer, detail } of errors) {
    if (pointer.startsWith(`${at}/`)) (found[pointer.slice(at.length)] ??= []).push(detail);
  }
  return found;
}

/** @param {Config} config */
function nameFor({ by = [], cells = {} }) {
  const words = [Object.keys(cells)[0] ?? 'events', ...by.map(shortOf)];
  return words.join('_by_').toLowerCase().replace(/[^a-z0-9_]+/g, '_').replace(/^[^a-z]+/, '').slice(0, 64);
}

/** @param {{ name: string, disabled: boolean, done: () => void }} props */
function TakeAway({ name, disabled, done }) {
  const foresee = async () => html`<bdi>${name}</bdi> would be answered no more. What it counted stays stored until it is purged.`;
  const carryOut = async () => {
    const { data } = await ask(`api/sections/${encodeURIComponent(name)}`, { method: 'DELETE' });
    done();
    return html`<bdi>${data.done}</bdi>`;
  };
  return html`<${Change} action="Take away" danger title=${`Take ${name} away?`} disabled=${disabled} foresee=${foresee} carryOut=${carryOut}>Takes the section out of the data directory.<//>`;
}

/** What was added so before. @param {{ sections: Sections, builders: Builder[] }} props */
function Added({ builders, sections: { data, problem } }) {
  const own = data?.sections.filter((one) => one.place === 'data_directory') ?? [];
  return html`<${Card} title="Added here" tools=${html`<a class="twin" href="api/sections" aria-label="sections as JSON">JSON</a>`}>
    ${problem ? html`<${Failure} problem=${problem} />` : null}
    ${own.length === 0 ? html`<p class="dim">None.</p>` : null}
    <ul class="examples">${own.map(({ name, shadowed, section: { plugin, config = {}, ...more } }) => html`<li key=${name} class="row">
      <a href=${href('plugins', [name])}><bdi>${name}</bdi></a><${MetricMark} state=${descriptor(name)?.state ?? 'refused'} />
      ${shadowed ? html`<span class="warn">not in force: the configuration file has one of this name</span>` : null}
      ${builders.some((one) => one.plugin === plugin) ? html`<a href=${href('new', [], { name, plugin, config: JSON.stringify(config), more: JSON.stringify(more) })}>change</a>` : null}</li>`)}</ul>
  <//>`;
}

/** @param {{ name: string, section: any, sections: Sections, ready: boolean, onFaults: (faults: Fault[]) => void }} props */
function Add({ name, section, sections, ready, onFaults }) {
  const there = sections.data?.sections.find((one) => one.name === name && !one.shadowed);
  const own = there?.place === 'data_directory';
  const [gone, setGone] = useState(/** @type {string | undefined} */ (undefined));
  const served = descriptor(name);
  const why = name === '' ? 'Give it a name first.'
    : there?.place === 'file' ? 'The configuration file has a section of this name: change it there.'
    : served && served.state !== 'retired' && !there ? 'Another metric has this name.' : '';
  const action = there ? 'Change' : 'Add';
  const done = () => {
    sections.again();
    refreshCatalogue();
  };
  const foresee = async () => html`<code>[metrics.${name}]</code> would be ${there ? 'changed: it counts its history beside the one that answers, then replaces it' : 'added to the data directory of this engine. It counts the log from its beginning, and can be taken away again'}.`;
  const carryOut = async () => {
    onFaults([]);
    await ask(`api/sections/${encodeURIComponent(name)}`, { method: 'PUT', body: section });
    done();
    return html`It is stored: <a href=${href('explore', [name], { live: 1 })}>explore it</a>, or see <a href=${href('plugins', [name])}>how it is</a>.`;
  };
  return html`<${Changes} title="Have it counted">
    <${Change} key=${`add ${name}`} action=${action} title=${`${action} ${name}?`} disabled=${!ready || why !== ''} foresee=${foresee} carryOut=${carryOut} onRefused=${(/** @type {Problem} */ problem) => onFaults(problem.errors)}>${why || 'By this engine, over the log and from now on.'}<//>
    ${own || gone === name ? html`<${TakeAway} key=${name} name=${name} disabled=${!own} done=${() => { setGone(name); done(); }} />` : null}
  <//>`;
}

export function NewMetric() {
  /** @type {import('../data/loaded.js').Loaded<{ plugins: { name: string, config_schema: Schema }[] }>} */
  const plugins = useLoaded('api/plugins');
  const builders = useMemo(() => (plugins.data?.plugins ?? []).flatMap((plugin) => builderOf(plugin) ?? []), [plugins.data]);
  const builder = builders.find((one) => one.plugin === route.value.query.plugin) ?? builders[0];
  return html`<${View} title="New metric" json="api/fields" lead="without code, of the fields that recent events have" tools=${html`<a href=${href('plugins')}>All plugins</a>`}>
    ${builder ? html`<${Draft} builder=${builder} builders=${builders} />` : html`<${Card} title="Count by">
      <${Pending} of=${plugins} />
      ${plugins.data ? html`<${State} kind="params-missing" title="No plugin can be told so">None in the plugin folders has a configuration of key columns and cells. <button type="button" onClick=${plugins.again}>Look again</button><//>` : null}
    <//>`}
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
  const preview = useLoaded(ready ? 'api/preview' : undefined, { body: { plugin, config, params }, pause: PAUSE_MS });
  const errors = [...(preview.problem?.errors ?? []), ...refused];
  const faults = below(errors, '/config');
  const schema = useMemo(() => settings(builder, fields), [builder, found.data]);
  const made = nameFor(config);
  const section = { plugin, ...more, config };
  const written = toml(name || made, section);
  const set = (/** @type {Record<string, any>} */ part) => {
    setRefused([]);
    withQuery(Object.fromEntries(Object.entries(part).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)])));
  };
  const chosen = { builder, fields, config, faults, onChange: (/** @type {Config} */ next) => set({ config: next }) };
  return html`<div class="two">
      <div class="stack">
        <${Card} class="pick" title="Count by" note=${found.data ? `newest ${fmt.value.number(found.data.records)} records` : null} tools=${html`${builders.length > 1 ? html`<select aria-label="plugin" value=${plugin} onChange=${(/** @type {any} */ event) => set({ plugin: event.currentTarget.value, config: '', params: '' })}>${builders.map((one) => html`<option key=${one.plugin}>${one.plugin}</option>`)}</select>` : null}<button type="button" onClick=${found.again}>Look again</button>`}>
          <${Pending} of=${found} />
          ${found.data ? html`${found.problem ? html`<${Failure} problem=${found.problem} />` : null}${found.data.records > 0 ? html`<${Keys} ...${chosen} />` : html`<${State} kind="empty" command="tally produce --count 1000" />`}` : null}
        <//>
        <${Card} title="Count what"><${Cells} ...${chosen} /><div class="below"><${Form} key=${plugin} schema=${schema} value=${config} faults=${faults} onChange=${chosen.onChange} /></div><//>
      </div>
      <div class="stack">
        <${Preview} found=${preview} ready=${ready}>
          <${Ask} key=${plugin} schema=${preview.data?.params_schema} value=${params} errors=${errors} onChange=${(/** @type {Params} */ next) => set({ params: next })} />
        <//>
        <${Card} title="Section" tools=${html`<${Download} name=${`${name || made}.toml`} type="application/toml" content=${() => written}>TOML<//>`}>
          <div class="field"><label for=${id}>Name</label>
            <div class="field-row"><input id=${id} type="text" autocomplete="off" spellcheck="false" placeholder=${made} value=${name} aria-describedby=${`${id}-faults`} onInput=${(/** @type {any} */ event) => set({ name: event.currentTarget.value })} />
              ${name === '' ? html`<button type="button" onClick=${() => set({ name: made })}>Take ${made}</button>` : null}</div>
            <div id=${`${id}-faults`}><${Faults} faults=${refused.filter(({ pointer }) => pointer === '')} /></div></div>
          <${Code} text=${written} label="section" />
        <//>
        <${Add} name=${name} section=${section} sections=${sections} ready=${ready} onFaults=${setRefused} />
        <${Added} sections=${sections} builders=${builders} />
      </div>
    </div>`;
}

/**
 * What is asked of the preview. What can be asked is known once there was an answer.
 * @param {{ schema: Schema | undefined, value: Params, errors: Fault[], onChange: (value: Params) => void }} props
 */
function Ask({ schema, value, errors, onChange }) {
  if (!schema) return Object.keys(value).length > 0 ? html`<p><button type="button" onClick=${() => onChange({})}>Ask without params</button></p>` : null;
  return html`<details class="ask"><summary>Params</summary><${Form} schema=${schema} value=${value} faults=${below(errors, '/params')} onChange=${onChange} /></details>`;
}
