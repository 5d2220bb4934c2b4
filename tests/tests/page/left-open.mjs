// A page that is left open: over a restart of the engine, plugins that come and are replaced, and a
// hundred thousand events. Nobody reloads it.
import assert from 'node:assert/strict';
import { act, ask, AWAY, expect, live, open, play, until } from './browser.mjs';
import { counted, event, post, reached } from './load.mjs';
import { blocks, complete, proved } from './proof.mjs';

/** Whatever an answer may be called that comes while an engine is away or starts. */
const STARTING = [...AWAY, /50[034]/, /404/];

/** Numbers that do not depend on the time of day. */
async function fixed(page) {
  const all = await blocks(page);
  const lasting = all.filter((one) => one.metric && !JSON.parse(one.params).window);
  return lasting
    .map(
      ({ metric, params, numbers }) =>
        `${metric} ${params} ${numbers.map((one) => `${one.at}=${one.value}`).join(' ')}`,
    )
    .sort();
}

async function connection(page, state) {
  await page.locator(`[data-connection="${state}"]`).waitFor();
}

let numbers = 0;

/** One page for all: what comes later finds what was before. */
let page;

await play(
  [
    [
      'a page left open',
      async (browser) => {
        await counted(0, 3000);
        page = await open(browser, '#/', { expected: STARTING });
        expect(page, ...STARTING);
        await live(page);
        await complete(page);
        numbers += await proved(page, 20);

        // The engine is stopped: what was last is greyed and dated, and stays.
        const before = await fixed(page);
        await act('stop');
        await connection(page, 'stopped');
        await page.locator('main .stale').first().waitFor();
        await page.locator('[role="status"] [data-state="stopped"]').waitFor();
        await page.locator('main .stale .note time').first().waitFor();
        assert.deepEqual(await fixed(page), before);
        // And comes back with the same numbers.
        await act('start');
        await connection(page, 'live');
        await until(
          'nothing is old any more',
          async () => (await page.locator('main .stale').count()) === 0,
        );
        assert.deepEqual(await fixed(page), before);
        numbers += await proved(page, 20);

        // It ends as by a crash: the connection is lost, and found again.
        await act('kill');
        await connection(page, 'reconnecting');
        await page.locator('[role="status"] [data-state="reconnecting"]').waitFor();
        await act('start');
        await connection(page, 'live');
        await until(
          'nothing is old any more',
          async () => (await page.locator('main .stale').count()) === 0,
        );
        assert.deepEqual(await fixed(page), before);
        await reached(await post([{ ...event(3000), event_id: 'after the crash' }]));
        numbers += await proved(page, 20);

        // A plugin is dropped in: its card comes by itself, with all history.
        assert.equal(
          await page.getByRole('heading', { level: 2, name: 'unique_visitors' }).count(),
          0,
        );
        const dropped = performance.now();
        await act('plugin', { plugin: 'unique_visitors' });
        await page.getByRole('heading', { level: 2, name: 'unique_visitors' }).waitFor();
        assert.ok(performance.now() - dropped < 15_000);
        await until(
          'it is active',
          async () =>
            (await ask('api/metrics')).metrics.find((one) => one.name === 'unique_visitors')
              ?.state === 'active',
        );
        await complete(page);
        numbers += await proved(page, 20);

        // Another revision of a metric counts beside the one that answers, and takes its place.
        const score = async () =>
          (await blocks(page))
            .find((one) => one.metric === 'products_popularity' && one.numbers.length > 0)
            ?.numbers.find((one) => one.at === '/products/0/score').value;
        const first = Number(await score());
        await act('configure', {
          config:
            '[metrics.products_popularity.config.weights]\nview = 7\nadd_to_cart = 7\nbuy = 70\n',
        });
        await until('the other revision is shown', async () => Number(await score()) > 2 * first);
        await act('configure', { config: '' });
        await until('the first one is shown again', async () => Number(await score()) === first);

        // A file is replaced by one that was built long ago, and back.
        const old = await fixed(page);
        await act('old', { plugin: 'event_frequencies' });
        await act('plugin', { plugin: 'event_frequencies' });
        assert.deepEqual(await fixed(page), old);
        numbers += await proved(page, 20);

        // A hundred thousand events.
        const position = await post(
          Array.from({ length: 100_000 }, (_, at) => event(10_000 + at, 3_600_000 - at * 36)),
        );
        await reached(position);
        const { result } = await ask('api/metrics', {
          name: 'event_frequencies',
          params: {},
          at_least: position,
        });
        await until('they are on the page', async () =>
          (await blocks(page)).some((one) =>
            one.numbers.some((number) => number.value === String(result.total)),
          ),
        );
        numbers += await proved(page, 20);
        assert.equal(
          await page.evaluate(() => performance.getEntriesByType('navigation').length),
          1,
        );
        assert.equal(await page.locator('main .stale').count(), 0);
      },
    ],
  ],
  () => `${numbers} numbers on a page left open`,
);
