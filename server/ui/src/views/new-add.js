// What is done with the section of a new metric: it is added to this engine, updated, or removed;
// and the sections that were added before.
//
// What is there under its name is asked again before each change: somebody else may have added it.

import { useState } from 'preact/hooks';
import { html } from '../html.js';
import { ask, get, Problem } from '../data/api.js';
import { descriptor, refreshCatalogue } from '../data/catalogue.js';
import { standing } from '../lib/draft.js';
import { Card } from '../parts/card.js';
import { Change, Changes } from '../parts/changes.js';
import { Failure, MetricMark } from '../parts/state.js';
import { href } from '../router.js';

/** @import {Problem as Refusal} from '../data/api.js' */
/** @import {Section} from '../lib/draft.js' */
/** @import {Builder} from '../lib/section.js' */
/** @import {Fault} from '../types' */

/** @typedef {import('../data/loaded.js').Loaded<{ sections: Section[] }>} Sections */

/** @param {string} name */
const pathOf = (name) => `api/sections/${encodeURIComponent(name)}`;

/** @param {{ name: string, disabled: boolean, onCarried: () => void }} props */
function Remove({ name, disabled, onCarried }) {
  const foresee = async () =>
    html`
      <bdi>${name}</bdi> would no longer be served. What it has counted is kept until it is purged.
    `;
  const carryOut = async () => {
    const { data } = await ask(pathOf(name), { method: 'DELETE' });
    return html`<bdi>${data.done}</bdi>`;
  };
  return html`<${Change}
    action="Remove"
    danger
    title=${`Remove ${name}?`}
    disabled=${disabled}
    foresee=${foresee}
    carryOut=${carryOut}
    onCarried=${onCarried}
  >
    Deletes the section from the data directory. What it has counted is kept.
  <//>`;
}

/** What was added before. @param {{ sections: Sections, builders: Builder[] }} props */
export function Added({ builders, sections: { data, problem } }) {
  const own = data?.sections.filter((one) => one.place === 'data_directory') ?? [];
  return html`<${Card}
    title="Metrics added here"
    tools=${html`<a class="twin" href="api/sections" aria-label="sections as JSON">JSON</a>`}
  >
    ${problem ? html`<${Failure} problem=${problem} />` : null}
    ${own.length === 0 ? html`<p class="dim">None yet.</p>` : null}
    <ul class="examples">
      ${own.map(
        ({ name, shadowed, section: { plugin, config = {}, ...more } }) => html`<li
          key=${name}
          class="row"
        >
          <a href=${href('plugins', [name])}><bdi>${name}</bdi></a>
          <${MetricMark} state=${descriptor(name)?.state ?? 'refused'} />
          ${
            shadowed
              ? html`<span class="warn">
                  overridden: the configuration file has a section with this name
                </span>`
              : null
          }
          ${
            builders.some((one) => one.plugin === plugin)
              ? html`<a
                  aria-label=${`Edit ${name}`}
                  href=${href('new', [], {
                    name,
                    plugin,
                    config: JSON.stringify(config),
                    more: JSON.stringify(more),
                  })}
                >
                  Edit
                </a>`
              : null
          }
        </li>`,
      )}
    </ul>
  <//>`;
}

/**
 * @param {{ name: string, section: any, sections: Sections, ready: boolean,
 *   onFaults: (faults: Fault[]) => void }} props
 */
export function Add({ name, section, sections, ready, onFaults }) {
  const { there, own, why } = standing(name, sections.data?.sections ?? [], descriptor(name));
  const [gone, setGone] = useState(/** @type {string | undefined} */ (undefined));
  const action = there ? 'Update metric' : 'Add metric';
  const onCarried = () => {
    sections.again();
    refreshCatalogue();
  };
  const foresee = async () => {
    const found = await get('api/sections');
    const now = standing(name, found.sections, descriptor(name));
    if (now.there !== there || now.own !== own) sections.again();
    if (now.why) throw new Problem({ code: 'http_409', detail: now.why, status: 409 });
    const known = now.there === there;
    return html`
      ${known ? null : html`<p class="warn">Its section has changed in the meantime.</p>`}
      <code>[metrics.${name}]</code> would be ${
        now.there
          ? 'replaced by this section: its new revision counts the history beside the current ' +
            'one, then takes its place'
          : 'added to the data directory of this engine. ' +
            'It counts the log from its beginning, and can be removed again'
      }.
    `;
  };
  const carryOut = async () => {
    onFaults([]);
    await ask(pathOf(name), { method: 'PUT', body: section });
    return html`
      ${there ? 'Updated: ' : 'Added: '}
      <a href=${href('explore', [name], { live: 1 })}>explore it</a>
      ${' or see '}
      <a href=${href('plugins', [name])}>its status</a>.
    `;
  };
  return html`<${Changes} title="Add metric">
    <${Change}
      key=${`add ${name}`}
      action=${action}
      title=${`${there ? 'Update' : 'Add'} ${name}?`}
      disabled=${!ready || why !== ''}
      foresee=${foresee}
      carryOut=${carryOut}
      onCarried=${onCarried}
      onRefused=${(/** @type {Refusal} */ problem) => onFaults(problem.errors)}
    >
      ${why || 'Counts the log from its beginning, and new events as they come.'}
    <//>
    ${
      own || gone === name
        ? html`<${Remove}
            key=${name}
            name=${name}
            disabled=${!own}
            onCarried=${() => {
              setGone(name);
              onCarried();
            }}
          />`
        : null
    }
  <//>`;
}
