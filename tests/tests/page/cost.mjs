// What the page costs: bytes of a first visit, time to a first picture, processor time with twelve cards, and
// memory at a thousand events a second for a minute. Sizes and memory have limits; times, which depend on the
// machine, are said, and have a limit only where something is badly wrong.
import assert from 'node:assert/strict';
import { ask, base, live, measured, open, play, until } from './browser.mjs';
import { counted, feed } from './load.mjs';
import { complete, tap } from './proof.mjs';

const MOST_BYTES = 80 * 1024;
const CARDS = 12;

const rounded = (value, places = 1) => Number(value.toFixed(places));

/** Processor time of all processes of the browser, by kind, seconds. */
async function times(session) {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  const all = {};
  for (const { type, cpuTime } of processInfo) all[type] = (all[type] ?? 0) + cpuTime;
  return all;
}

/** Bytes of live objects, and nodes of the document. */
async function held(session) {
  await session.send('HeapProfiler.collectGarbage');
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { metrics } = await session.send('Performance.getMetrics');
  return { heap: usedSize, nodes: metrics.find((one) => one.name === 'Nodes').value };
}

await play([
  ['a first visit', async (browser) => {
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
        network.on('Network.responseReceived', ({ requestId, response }) => names.set(requestId, response));
        network.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
          const response = names.get(requestId);
          const name = response && new URL(response.url).pathname.slice(1);
          if (response && !/^(api|ws|docs|metrics)/.test(name)) files.set(name || 'index.html', { size: encodedDataLength, headers: response.headers });
        });
      },
    });
    await live(page);
    await until('its files', () => files.size >= 3);
    for (const { size } of files.values()) bytes += size;
    measured('first visit', `${bytes} bytes in ${files.size} files`);
    assert.ok(bytes <= MOST_BYTES, `${bytes} bytes`);
    const own = (headers, name) => Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1] ?? '';
    for (const [name, { headers }] of files) {
      const hashed = /\.[0-9a-f]{10}\./.test(name);
      assert.equal(own(headers, 'cache-control').includes('immutable'), hashed, name);
      if (!name.endsWith('.svg')) assert.match(own(headers, 'content-encoding'), /gzip|br|zstd/, name);
    }
    const policy = own(files.get('index.html').headers, 'content-security-policy');
    assert.match(policy, /default-src 'self'/);
    assert.ok(!/unsafe|data:|\*/.test(policy), policy);
  }],
  ['a first picture', async (browser) => {
    const paints = [];
    const numbers = [];
    for (let visit = 0; visit < 5; visit += 1) {
      const page = await open(browser);
      await complete(page);
      paints.push(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime));
      numbers.push(await page.evaluate(() => performance.now()));
      await page.context().close();
    }
    paints.sort((a, b) => a - b);
    measured('first picture', `${Math.round(paints[2])} ms (median of 5; least ${Math.round(paints[0])}), every card drawn after ${Math.round(Math.min(...numbers))} ms (least)`);
    assert.ok(paints[0] < 1500, `${paints}`);
  }],
  ['twelve cards at twenty updates a second', async (browser) => {
    const page = await open(browser);
    let heard;
    await page.context().close();
    const moving = await open(browser, '#/', { before: (made) => { heard = tap(made); } });
    await live(moving);
    await complete(moving);
    assert.ok(await moving.locator('section.card.metric').count() >= CARDS);
    const session = await browser.newBrowserCDPSession();
    const stop = feed(1.5);
    try {
      const [before, from, updates] = [await times(session), performance.now(), heard.heard];
      await until('ten seconds of it', () => performance.now() - from > 10_000, 15_000);
      const [after, seconds] = [await times(session), (performance.now() - from) / 1000];
      const share = (kind) => (100 * ((after[kind] ?? 0) - (before[kind] ?? 0))) / seconds;
      const all = Object.keys(after).map((kind) => `${kind} ${rounded(share(kind))} %`);
      measured('processor', `${rounded((heard.heard - updates) / seconds)} updates/s, of a core: ${all.join(', ')}`);
      assert.ok(heard.heard - updates > 100, 'it moves');
    } finally {
      await stop();
    }
  }],
  ['a minute at a thousand events a second', async (browser) => {
    const page = await open(browser);
    await live(page);
    await complete(page);
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable');
    const stop = feed(1000, 2_000_000);
    try {
      const begun = performance.now();
      const samples = [];
      // The overview, with its feed, then the feed itself, then back: what was left must be let go.
      const views = ['#/', '#/events', '#/', '#/events', '#/', '#/events'];
      for (const [at, view] of views.entries()) {
        await page.evaluate((to) => { location.hash = to; }, view);
        await until(`${10 * (at + 1)} seconds`, () => performance.now() - begun > 10_000 * (at + 1), 15_000);
        samples.push(await held(session));
      }
      const text = samples.map(({ heap, nodes }) => `${rounded(heap / 2 ** 20, 2)} MiB ${nodes} nodes`).join(', ');
      measured('memory each 10 s', text);
      // The same views, half a minute apart.
      for (const at of [2, 3]) {
        const [first, last] = [samples[at], samples[at + 2]];
        assert.ok(last.heap - first.heap < 2 * 2 ** 20, text);
        assert.ok(last.nodes < 1.2 * first.nodes + 500, text);
      }
      assert.ok(Math.max(...samples.map(({ heap }) => heap)) < 40 * 2 ** 20, text);
    } finally {
      const { count } = await stop();
      measured('events meanwhile', count);
      assert.ok(count > 30_000, `${count}`);
    }
    const { metrics } = await ask('api/metrics');
    assert.ok(metrics.length >= CARDS, base);
  }],
], () => '80 KiB at most, and a minute without growth');
