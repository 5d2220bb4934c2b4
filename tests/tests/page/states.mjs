// Each state of the page, reached: it has its picture, says why and what to do, and axe-core finds
// nothing in it, light, dark and narrow. The argument is the world that the harness has made:
// `plain` (an engine without events), `redis` (its store can be stopped), `small` (little memory,
// few cells), `failing` (a plugin that fails, is slow and does not return on certain events).
import assert from 'node:assert/strict';
import { act, altered, ask, AWAY, base, given, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted, event, post, reached } from './load.mjs';
import { complete, proved } from './proof.mjs';

const reachedStates = [];

/** A state is seen with its picture, and sound in every look. `says`: what must be read in it. */
async function state(page, kind, says = /./, within = page.locator('body')) {
  const place = within.locator(`[data-state="${kind}"]`).filter({ visible: true }).first();
  await place.waitFor();
  await until(`${kind} says ${says}`, async () => says.test(await place.innerText()));
  // Told in one step: it may be over by the next.
  assert.ok(
    await place.evaluate((shown) => shown.querySelector('svg, [role=progressbar]') !== null),
    `${kind} has no picture`,
  );
  await judgeAll(page, kind);
  reachedStates.push(kind);
}

/** The card of a metric. */
const card = (page, name) =>
  page
    .locator('section.card')
    .filter({ has: page.getByRole('heading', { level: 2, name, exact: true }) });

async function metric(name, wanted) {
  return until(`${name} is ${wanted}`, async () => {
    const found = (await ask('api/metrics')).metrics.find((one) => one.name === name);
    assert.equal(found?.state, wanted, JSON.stringify(found?.reason));
    return true;
  });
}

const plain = [
  [
    'no events yet',
    async (browser) => {
      const page = await open(browser);
      await live(page);
      await state(page, 'empty', /tally produce|curl/);
      // What it says to do works: the address in it is the engine's.
      const command = await page.getByLabel('command', { exact: true }).first().innerText();
      assert.ok(command.includes(`${base}api/events`), command);
      const body = /'(\{.*\})'/.exec(command)[1];
      await reached((await ask('api/events', JSON.parse(body))).position);
      await until(
        'the first event ends it',
        async () => (await page.getByRole('heading', { name: 'Get started' }).count()) === 0,
      );
      await complete(page);
      await judgeAll(page, 'live');
      reachedStates.push('live');
    },
  ],
  [
    'another version is running',
    async (browser) => {
      let version;
      const page = await open(browser, '#/health', {
        before: (made) =>
          altered(made, /\/api\/status$/, (status) => ({
            ...status,
            version: version ?? status.version,
          })),
      });
      await live(page);
      await page.locator('[data-source="api/status"]').first().waitFor();
      assert.equal(await page.locator('[data-state="outdated"]').count(), 0);
      version = '99.0.0';
      await state(page, 'outdated', /99\.0\.0/, page.locator('[role="status"]'));
      await judgeAll(page, 'another version is running');
      await page.getByRole('button', { name: 'Reload' }).click();
      await live(page);
      await until(
        'the page is that of the engine',
        async () => (await page.getByText('Tally 99.0.0').count()) > 0,
      );
      assert.equal(await page.locator('[data-state="outdated"]').count(), 0);
    },
  ],
  [
    'a status that says little',
    async (browser) => {
      const page = await open(browser, '#/health', {
        expected: /404/,
        before: (made) =>
          altered(made, /\/api\/status$/, ({ version, as_of, ready }) => ({
            version,
            as_of,
            ready,
          })),
      });
      await live(page);
      await page.getByRole('heading', { level: 2, name: 'Threads' }).waitFor();
      for (const view of ['#/', '#/plugins', '#/records/0/0', '#/health']) {
        await page.evaluate((to) => {
          location.hash = to;
        }, view);
        await live(page);
        assert.equal(await page.getByText('This view has failed').count(), 0, view);
      }
      await judgeAll(page, 'a status that says little');
    },
  ],
  [
    'another program answers',
    async (browser) => {
      const strange = [
        { contentType: 'text/html', body: '<!doctype html><h1>Sign in</h1>' },
        { contentType: 'application/json', body: '{"error":"login"}' },
      ];
      for (const answer of strange) {
        const page = await open(browser, '#/', {
          before: (made) =>
            made.route(/\/api\/(?!status)/, (route) => route.fulfill({ status: 200, ...answer })),
        });
        await live(page);
        for (const view of ['#/', '#/letters', '#/boards', '#/plugins', '#/new', '#/records/0/0']) {
          await page.evaluate((to) => {
            location.hash = to;
          }, view);
          await page.locator('main').getByText("none of Tally's").first().waitFor();
          for (const wrong of ['This view has failed', 'A fault of the page', 'No shared boards'])
            assert.equal(await page.getByText(wrong).count(), 0, `${wrong} at ${view}`);
        }
        await judgeAll(page, 'another program answers');
      }
      reachedStates.push('another program');
    },
  ],
  [
    'connecting',
    async (browser) => {
      // The engine takes the connection and says nothing.
      const page = await open(browser, '#/', {
        before: (made) => made.routeWebSocket(/\/ws/, () => {}),
      });
      await state(page, 'connecting', /Connecting to the engine/, page.locator('[role="status"]'));
      assert.equal(
        await page.locator('[data-connection]').getAttribute('data-connection'),
        'connecting',
      );
    },
  ],
  [
    'params are missing',
    async (browser) => {
      const page = await open(browser, '#/', {
        before: (made) =>
          altered(made, /\/api\/metrics$/, ({ metrics }) => {
            for (const one of metrics) if (one.name === 'user_activities') one.examples = [];
          }),
      });
      await live(page);
      await state(page, 'params-missing', /\w+/, card(page, 'user_activities'));
      await card(page, 'user_activities').getByRole('link', { name: 'Ask' }).click();
      await page.getByRole('heading', { level: 1 }).waitFor();
      assert.match(page.url(), /#\/explore\/user_activities/);
    },
  ],
  [
    'a file is refused',
    async (browser) => {
      const page = await open(browser);
      await live(page);
      await act('spoil', { plugin: 'event_frequencies' });
      await state(page, 'refused', /spoilt\.so.*cut off/s, page.locator('main'));
      await complete(page);
      await act('remove', { plugin: 'spoilt' });
      await until(
        'it is gone',
        async () => (await page.locator('main [data-state="refused"]').count()) === 0,
      );
    },
  ],
  [
    'stopped, and reconnecting',
    async (browser) => {
      const page = await open(browser, '#/', { expected: [...AWAY, /50[034]/] });
      await live(page);
      await complete(page);
      await act('stop');
      await state(page, 'stopped', /Start the engine again/, page.locator('[role="status"]'));
      // By hand it tries at once.
      await act('start');
      await page
        .getByRole('button', { name: 'Try now' })
        .click()
        .catch(() => {});
      await page.locator('[data-connection="live"]').waitFor();
      await act('kill');
      await state(page, 'reconnecting', /resumes by itself/, page.locator('[role="status"]'));
      await act('start');
      await page.locator('[data-connection="live"]').waitFor();
      await proved(page);
    },
  ],
];

const redis = [
  [
    'the store is away',
    async (browser) => {
      await counted(0, 500);
      const page = await open(browser, '#/', { expected: [...AWAY, /50[034]/] });
      await live(page);
      await complete(page);
      await act('redis', { up: false });
      const { accepted } = await ask(
        'api/events',
        Array.from({ length: 50 }, (_, at) => event(500 + at)),
      );
      assert.equal(accepted, 50, 'the log takes events all the same');
      await state(page, 'store-away', /./, page.locator('[role="status"]'));
      await act('redis', { up: true });
      await until(
        'it is there again',
        async () => (await page.locator('[role="status"] [data-state="store-away"]').count()) === 0,
        60_000,
      );
      await reached(await post([event(600)]));
      await proved(page, 10);
    },
  ],
];

/** Users that nobody saw before. */
const users = (from) =>
  Array.from({ length: 5000 }, (_, at) => ({
    user_id: `a-user-with-a-long-name-${from + at}`,
    product_id: at % 100,
    event_type: 'view',
    timestamp: 1_000_000_000_000 + ((from + at) % 700) * 86_400_000,
  }));

const small = [
  [
    'too many cells',
    async (browser) => {
      await counted(0, 500);
      const page = await open(browser);
      await live(page);
      await metric('few', 'quarantined');
      await state(page, 'quarantined', /max_cells/, card(page, 'few'));
      // It answers up to where it stopped, and says so.
      await card(page, 'few').getByText('over_max_cells').first().waitFor();
      assert.ok((await card(page, 'few').getByRole('link', { name: 'What to do' }).count()) > 0);
      await proved(page, 10);
    },
  ],
  [
    'over its memory',
    async (browser) => {
      const page = await open(browser);
      await live(page);
      let from = 0;
      await until(
        'state is over its memory',
        async () => {
          await post(users(from));
          from += 5000;
          return (await ask('api/metrics')).metrics.some((one) =>
            one.reason?.startsWith('over_memory'),
          );
        },
        60_000,
      );
      await state(page, 'over-memory', /memory/, page.locator('main'));
    },
  ],
];

const failing = [
  [
    'history is counted',
    async (browser) => {
      // Each holds the plugin up; it is not there yet.
      const end = await post(
        Array.from({ length: 60 }, (_, at) => ({ ...event(at), product_id: 777 })),
      );
      await reached(end);
      const page = await open(browser);
      await live(page);
      await act('poison', { breaks: true });
      await state(page, 'backfilling', /history/, page.locator('main'));
      await metric('poison', 'active');
      await complete(page);
      await proved(page, 10);
    },
  ],
  [
    'a plugin fails, and a mended one takes its place',
    async (browser) => {
      const page = await open(browser);
      await live(page);
      await complete(page);
      await reached(
        await post(
          Array.from({ length: 150 }, (_, at) => ({
            ...event(1000 + at),
            user_id: 1,
            product_id: 666,
          })),
        ),
      );
      await metric('poison', 'quarantined');
      await state(page, 'quarantined', /events in a row/, card(page, 'poison'));
      await act('poison', { breaks: false });
      await metric('poison', 'active');
      await until(
        'it is shown',
        async () =>
          (await card(page, 'poison').locator('[data-state="quarantined"]').count()) === 0,
      );
      await complete(page);
      await proved(page, 10);
      await act('poison', { breaks: true });
      await until(
        'the failing one is back',
        async () => (await ask('api/metrics/poison')).version === '1.0.0',
      );
    },
  ],
  [
    'counting has stalled',
    async (browser) => {
      const page = await open(browser, '#/', { expected: [...AWAY, /50[034]/] });
      await live(page);
      await post([{ ...event(2000), product_id: 888 }]);
      await state(page, 'stalled', /has not returned.*--disable/s, page.locator('[role="status"]'));
      await card(page, 'poison').getByText('counting_stalled').first().waitFor();
    },
  ],
];

const worlds = { plain, redis, small, failing };
await play(
  worlds[given[0]],
  () =>
    `${new Set(reachedStates).size} states: ${[...new Set(reachedStates)].join(', ')}; ` +
    `axe-core ${judged.runs} times`,
);
