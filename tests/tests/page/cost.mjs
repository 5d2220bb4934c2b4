// What the page costs: bytes of a first visit, time to a first picture, processor time with twelve
// cards, and memory at a thousand events a second. All have limits; of times the best of several is
// held against them, since others use the machine.
//
// Memory is looked at for a minute; `cost.mjs ADDRESS MINUTES` does that alone, for so long.
import assert from 'node:assert/strict';
import { ask, given, live, measured, open, play, until } from './browser.mjs';
import { counted, feed } from './load.mjs';
import { complete, tap } from './proof.mjs';

const MOST_BYTES = 80 * 1024;
const CARDS = 12;
/** Milliseconds to a first picture. */
const PICTURE_MS = 500;
const LOADS = 7;
/** Of a core, percent, at this many updates a second. */
const [RENDERER, UPDATES] = [15, 20];
const WINDOWS = 3;
/** MiB after garbage was collected: how much more, and how much in all. */
const [GROWTH, HEAP] = [1.5, 40];
/** Seconds that a view is left open. */
const STAY_S = 3;
const MINUTES = Number(given[0] ?? 1);
assert.ok(MINUTES > 0 && MINUTES <= 60, `${given[0]} minutes`);

/** What was measured, for the verdict. */
const told = [];

const rounded = (value, places = 1) => Number(value.toFixed(places));

/** Processor time of all processes of the browser, by kind, seconds. */
async function times(session) {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  const all = {};
  for (const { type, cpuTime } of processInfo) all[type] = (all[type] ?? 0) + cpuTime;
  return all;
}

/** The one in the middle. */
function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** Bytes of live objects, and nodes of the document. */
async function held(session) {
  await session.send('HeapProfiler.collectGarbage');
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { metrics } = await session.send('Performance.getMetrics');
  return {
    heap: usedSize,
    nodes: metrics.find((one) => one.name === 'Nodes').value,
  };
}

/**
 * Memory of a view does not grow: its median of the last third is that of the third before. The
 * first third is that in which it fills.
 */
function flat(view, samples) {
  const third = Math.floor(samples.length / 3);
  const middle = (back) => {
    const some = samples.slice(samples.length - back * third).slice(0, third);
    return {
      heap: median(some.map((one) => one.heap)),
      nodes: median(some.map((one) => one.nodes)),
    };
  };
  const [before, after] = [middle(2), middle(1)];
  const all = samples.map(({ heap }) => rounded(heap / 2 ** 20, 2));
  const growth = rounded((after.heap - before.heap) / 2 ** 20, 2);
  const text = `${view}: ${all.join(' ')} MiB; ${before.nodes} nodes, then ${after.nodes}`;
  measured('memory', text);
  assert.ok(growth < GROWTH, text);
  assert.ok(after.nodes < 1.2 * before.nodes + 500, text);
  assert.ok(Math.max(...all) < HEAP, text);
  told.push(`heap at ${view} ${rounded(after.heap / 2 ** 20, 1)} MiB, ${growth} more than before`);
}

await play(
  [
    [
      'a first visit',
      async (browser) => {
        await counted(0, 3000);
        const session = await browser.newBrowserCDPSession();
        assert.ok(session);
        let bytes = 0;
        const files = new Map();
        const page = await open(browser, '#/', {
          before: async (made) => {
            const network = await made.context().newCDPSession(made);
            await network.send('Network.enable');
            const names = new Map();
            network.on('Network.responseReceived', ({ requestId, response }) =>
              names.set(requestId, response),
            );
            network.on('Network.loadingFinished', ({ requestId }) => {
              const response = names.get(requestId);
              const name = response && new URL(response.url).pathname.slice(1);
              if (response && !/^(api|ws|docs|metrics)/.test(name))
                files.set(name || 'index.html', response.headers);
            });
          },
        });
        await live(page);
        await until('its files', () => files.size >= 3);
        const own = (headers, name) =>
          Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1] ?? '';
        // Of the files as they are sent, without the heads of the answers.
        for (const headers of files.values())
          bytes += Number(own(headers, 'content-length') || NaN);
        measured('first visit', `${bytes} bytes in ${files.size} files`);
        assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
        for (const [name, headers] of files) {
          const hashed = /\.[0-9a-f]{10}\./.test(name);
          assert.equal(own(headers, 'cache-control').includes('immutable'), hashed, name);
          if (!name.endsWith('.svg'))
            assert.match(own(headers, 'content-encoding'), /gzip|br|zstd/, name);
        }
        const policy = own(files.get('index.html'), 'content-security-policy');
        assert.match(policy, /default-src 'self'/);
        assert.ok(!/unsafe|data:|\*/.test(policy), policy);
      },
    ],
    [
      'a first picture',
      async (browser) => {
        const paints = [];
        const numbers = [];
        for (let visit = 0; visit < LOADS; visit += 1) {
          const page = await open(browser);
          await complete(page);
          paints.push(
            await page.evaluate(
              () => performance.getEntriesByName('first-contentful-paint')[0].startTime,
            ),
          );
          numbers.push(await page.evaluate(() => performance.now()));
          await page.context().close();
        }
        const best = Math.round(Math.min(...paints));
        measured(
          'first picture',
          `${best} ms (best of ${LOADS}; median ${Math.round(median(paints))}), ` +
            `every card drawn after ${Math.round(Math.min(...numbers))} ms (least)`,
        );
        assert.ok(best < PICTURE_MS, `${paints}`);
        told.push(`first picture after ${best} ms`);
      },
    ],
    [
      'twelve cards at twenty updates a second',
      async (browser) => {
        let heard;
        const moving = await open(browser, '#/', {
          before: (made) => {
            heard = tap(made);
          },
        });
        await live(moving);
        await complete(moving);
        assert.ok((await moving.locator('section.card.metric').count()) >= CARDS);
        const session = await browser.newBrowserCDPSession();
        // An event changes each card.
        const stop = feed(1.2 * (UPDATES / CARDS));
        const windows = [];
        try {
          for (let at = 0; at < WINDOWS; at += 1) {
            const [before, from, updates] = [await times(session), performance.now(), heard.heard];
            await until('ten seconds of it', () => performance.now() - from > 10_000, 15_000);
            const [after, seconds] = [await times(session), (performance.now() - from) / 1000];
            const share = (kind) => (100 * ((after[kind] ?? 0) - (before[kind] ?? 0))) / seconds;
            const rate = (heard.heard - updates) / seconds;
            windows.push({ rate, renderer: share('renderer') });
            const all = Object.keys(after).map((kind) => `${kind} ${rounded(share(kind))} %`);
            measured('processor', `${rounded(rate)} updates/s, of a core: ${all.join(', ')}`);
          }
        } finally {
          await stop();
        }
        const text = JSON.stringify(windows);
        const busy = windows.filter(({ rate }) => rate >= UPDATES);
        assert.ok(busy.length > 0, `it moves too slowly: ${text}`);
        const best = busy.toSorted((a, b) => a.renderer - b.renderer)[0];
        assert.ok(best.renderer > 0 && best.renderer < RENDERER, text);
        told.push(
          `renderer ${rounded(best.renderer)} % of a core at ${rounded(best.rate)} updates/s`,
        );
      },
    ],
    [
      `${MINUTES} min at a thousand events a second`,
      async (browser) => {
        const page = await open(browser);
        await live(page);
        await complete(page);
        const session = await page.context().newCDPSession(page);
        await session.send('Performance.enable');
        const stop = feed(1000, 2_000_000);
        // The overview, with its feed, then the feed itself, then back: what was left must be let
        // go.
        const samples = { '#/': [], '#/events': [] };
        const begun = performance.now();
        try {
          const stays = Math.round((60 * MINUTES) / STAY_S);
          for (let at = 0; at < stays; at += 1) {
            const view = Object.keys(samples)[at % 2];
            await page.evaluate((to) => {
              location.hash = to;
            }, view);
            const due = 1000 * STAY_S * (at + 1);
            await until(`${due / 1000} seconds`, () => performance.now() - begun > due);
            samples[view].push(await held(session));
          }
        } finally {
          const { count } = await stop();
          measured('events meanwhile', count);
          assert.ok(count > 30_000 * MINUTES, `${count}`);
        }
        for (const [view, all] of Object.entries(samples)) flat(view, all);
        const { metrics } = await ask('api/metrics');
        assert.ok(metrics.length >= CARDS, `${metrics.length} metrics`);
      },
    ],
  ].filter(([name]) => given.length === 0 || name.includes(' min at ')),
  () =>
    `${given.length === 0 ? '80 KiB at most' : `${MINUTES} minutes without growth`}; ` +
    told.join('; '),
);
