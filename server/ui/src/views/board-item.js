// A question of a board, live: its picture at its place.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from '../html.js';
import { useAnswer } from '../data/answer.js';
import { descriptor } from '../data/catalogue.js';
import { useSight } from '../data/sight.js';
import { live, waiting } from '../data/silence.js';
import { fitted, pictures } from '../lib/picture.js';
import { answerPath, canonical } from '../lib/question.js';
import { Card, Since } from '../parts/card.js';
import { CardPicture } from '../parts/picture.js';
import { Failure, Large, State, Warnings } from '../parts/state.js';
import { Time } from '../parts/values.js';
import { href } from '../router.js';

/** @import {Item} from '../lib/board.js' */
/** @import {Picture} from '../types' */

/** Height of a chart where its place has none of its own, and the least. */
const [USUAL, LEAST] = [180, 100];

/** The result as one tree. @type {Picture} */
const TREE = { kind: 'tree', at: '', key: '', title: 'Result', help: '', unit: '' };

/**
 * How high a chart can be in the place, 0 where the place grows with it; and whether what is in it
 * is higher.
 * @param {{ current: HTMLElement | null }} ref
 */
function useRoom(ref) {
  const [room, setRoom] = useState({ height: 0, scrolls: false });
  useEffect(() => {
    const box = ref.current;
    const content = box?.firstElementChild;
    if (!box || !content) return undefined;
    const watcher = new ResizeObserver(() => {
      const fixed = getComputedStyle(box).overflowY === 'auto';
      const canvas = /** @type {HTMLElement | null} */ (content.querySelector('.chart-canvas'));
      const others = content.clientHeight - (canvas?.offsetHeight ?? 0);
      const next = {
        height: fixed ? Math.max(LEAST, box.clientHeight - others - 8) : 0,
        scrolls: fixed && box.scrollHeight > box.clientHeight + 1,
      };
      setRoom((before) =>
        before.height === next.height && before.scrolls === next.scrolls ? before : next,
      );
    });
    watcher.observe(box);
    watcher.observe(content);
    return () => watcher.disconnect();
  }, []);
  return room;
}

/**
 * @param {{ item: Item, twin: boolean, held: boolean, wall: boolean,
 *   tools: (item: Item, name: string) => any, corner: any }} props `twin`: whether another one has
 *   its name; `corner`: what its corner does, if it can be resized
 */
export function BoardItem({ item, twin, held, wall, tools, corner }) {
  const { metric, params, expand, picture } = item;
  const name = item.title ?? metric;
  const explore = href('explore', [metric], { params: canonical(params), live: 1 });
  const schema = descriptor(metric)?.result_schema;
  const question = { metric, params, expand };
  const [block, seen] = useSight();
  const { answer, of, problem, busy, large } = useAnswer(question, { card: true, seen }).value;
  const all = useMemo(() => pictures(schema ?? {}), [canonical(schema)]);
  const chosen = all.filter((one) => one.kind === picture);
  const fits =
    picture === 'tree' ||
    (answer !== undefined && chosen.some((one) => fitted(one, answer.result)?.kind === picture));
  const parts = !picture || !fits ? all : picture === 'tree' ? [TREE] : chosen;
  const stale = answer !== undefined && (!seen || !live.value || problem !== undefined);
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const { height, scrolls } = useRoom(place);
  return html`<li
    class=${`board-item ${held ? 'held' : ''} ${picture === 'figure' ? 'large' : ''}`}
    data-item=${item.id}
    style=${{
      gridColumn: `${item.x + 1} / span ${item.w}`,
      gridRow: `${item.y + 1} / span ${item.h}`,
    }}
  >
    <${Card}
      title=${html`
        <bdi>${name}</bdi>
        ${twin ? html`<span class="sr-only"> at ${item.x + 1}, ${item.y + 1}</span>` : null}
      `}
      help=${`${metric} ${canonical(params)}`}
      href=${wall ? undefined : explore}
      note=${
        stale
          ? html`as of <${Time} value=${answer?.meta.as_of} as="clock" />`
          : html`<${Since} params=${params} meta=${answer?.meta} />`
      }
      tools=${
        wall
          ? null
          : tools(item, name) ||
            html`<a
              class="twin no-print"
              href=${answerPath(question)}
              aria-label=${`${name} as JSON`}
            >
              JSON
            </a>`
      }
      stale=${stale}
      place=${block}
      metric=${metric}
      params=${of?.params}
      answer=${answer}
    >
      <div
        class="board-body"
        ref=${place}
        tabindex=${scrolls ? 0 : undefined}
        role=${scrolls ? 'group' : undefined}
        aria-label=${scrolls ? name : undefined}
      >
        <div>
          ${problem ? html`<${Failure} problem=${problem} />` : null}
          ${!answer && !problem && busy ? html`<${State} kind=${waiting.value} />` : null}
          <${Large} size=${large} href=${explore} />
          ${
            answer && picture && !fits
              ? html`<p class="dim small">This answer cannot be drawn as ${picture}.</p>`
              : null
          }
          ${
            answer
              ? html`<${CardPicture}
                  pictures=${parts}
                  result=${answer.result}
                  rows=${50}
                  height=${height || USUAL}
                />`
              : null
          }
          <${Warnings} warnings=${answer?.warnings} />
        </div>
      </div>
    <//>
    ${
      corner
        ? html`<span
            class="board-corner no-print"
            aria-hidden="true"
            title="Resize"
            ...${corner}
          ></span>`
        : null
    }
  </li>`;
}
