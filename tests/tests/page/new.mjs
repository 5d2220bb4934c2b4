// A metric in a minute, without code: keys and cells among the fields of recent events, counted
// before it exists, taken as TOML or added, and removed again. What was shown before is what the
// metric answers once it has counted the same records.
import assert from 'node:assert/strict';
import { act, ask, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted } from './load.mjs';
import { at, blocks } from './proof.mjs';

/** Key columns and cells of several kinds. */
const CONFIG = {
  by: ['event_type', 'product_id'],
  cells: { events: 'count', users: { distinct: 'user_id' }, notes: { distinct: '/note' } },
};
const PARAMS = { limit: 40 };

let proved = 0;

/** Goes to a view with what its address holds. */
function go(page, view, query) {
  const texts = Object.entries(query).map(([key, value]) => [key, JSON.stringify(value)]);
  return page.evaluate(
    (to) => {
      location.hash = to;
    },
    `#/${view}?${new URLSearchParams(texts)}`,
  );
}

/** The numbers of a part of the page by where they are in the result. */
async function numbersIn(part) {
  const all = await part
    .locator('data[data-at]')
    .evaluateAll((found) => found.map((one) => [one.dataset.at, one.value]));
  return Object.fromEntries(all);
}

/**
 * The preview of what the address says, once it is drawn: each number is that of `POST
 * api/preview`. Answers the result and the numbers.
 */
async function previewed(page) {
  const query = new URLSearchParams(new URL(page.url()).hash.split('?')[1]);
  const question = {
    plugin: 'counts',
    config: JSON.parse(query.get('config')),
    params: JSON.parse(query.get('params') || '{}'),
  };
  const { result, meta } = await ask('api/preview', question);
  const { partitions } = await ask('api/status');
  const all = partitions.reduce((sum, { start, end }) => sum + end - start, 0);
  assert.equal(meta.records, all, 'it is of all records');
  const numbers = await until('the preview shows these numbers', async () => {
    const found = await numbersIn(page.locator('main .preview'));
    const entries = Object.entries(found);
    assert.ok(entries.length >= 2, `${entries.length} numbers`);
    for (const [pointer, value] of entries) assert.equal(value, String(at(result, pointer)));
    for (const key of Object.keys(question.config.cells)) assert.ok(`/total/${key}` in found, key);
    return found;
  });
  proved += Object.keys(numbers).length;
  return { params: question.params, result, numbers };
}

await play(
  [
    [
      'without events',
      async (browser) => {
        await act('plugin', { plugin: 'counts' });
        await act('configure', {
          config: '[metrics.counts]\nconfig.cells = { events = "count" }\n',
        });
        await until('the plugin that counts is there', async () =>
          (await ask('api/metrics')).metrics.some((one) => one.plugin === 'counts'),
        );
        const page = await open(browser, '#/new');
        await live(page);
        await page.locator('main [data-state="empty"]').waitFor();
        await judgeAll(page, 'no fields yet');
      },
    ],
    [
      'chosen, previewed, added, removed',
      async (browser) => {
        await counted(0, 2000);
        const page = await open(browser, '#/new', { expected: /4(09|22)|net::ERR_FAILED/ });
        await live(page);
        const fields = page.getByRole('table', { name: 'Fields of recent events' });
        const { fields: found } = await ask('api/fields');
        await until(
          'the fields that events have',
          async () => (await fields.locator('tbody tr').count()) >= Math.min(5, found.length),
        );
        await judgeAll(page, 'fields');
        await fields.getByRole('button', { name: /count by event_type/ }).click();
        await page.locator('main .preview data').first().waitFor();
        await judgeAll(page, 'a preview');
        await previewed(page);
        await go(page, 'new', { config: CONFIG, params: PARAMS });
        const before = await previewed(page);
        assert.equal(before.result.groups.length, PARAMS.limit);
        assert.ok(Object.keys(before.numbers).length > 3 * PARAMS.limit);
        const { plugins } = await ask('api/plugins');
        assert.ok(
          plugins.some((one) => one.name === 'counts' && one.config_schema.properties.cells),
        );
        const toml = await page
          .getByLabel('section', { exact: true })
          .locator('xpath=descendant-or-self::pre')
          .first()
          .innerText();
        assert.match(toml, /plugin = "counts"/);
        await page.getByLabel('Name', { exact: true }).fill('by_type');
        const change = page.getByRole('region', { name: 'Add metric' });
        await change.getByRole('button', { name: 'Add' }).click();
        const dialog = page.getByRole('dialog');
        await dialog.waitFor();
        await judgeAll(page, 'before it is added');
        await dialog.getByRole('button', { name: /^Add/ }).click();
        await until('it is served', async () =>
          (await ask('api/metrics')).metrics.some(
            (one) => one.name === 'by_type' && one.state === 'active',
          ),
        );
        // The metric answers what the preview foretold, and its view shows it.
        const { result } = await ask('api/metrics', { name: 'by_type', params: before.params });
        assert.deepEqual(result, before.result);
        await go(page, 'explore/by_type', { params: before.params });
        await until('Explore shows the numbers of the preview', async () => {
          const shown = (await blocks(page)).flatMap((one) =>
            one.metric === 'by_type' ? one.numbers : [],
          );
          const found = Object.fromEntries(shown.map((one) => [one.at, one.value]));
          for (const [pointer, value] of Object.entries(before.numbers))
            assert.equal(found[pointer], value, pointer);
          return true;
        });
        proved += Object.keys(before.numbers).length;
        await page.goBack();
        await page.evaluate(() => {
          location.hash = '#/';
        });
        await page.getByRole('heading', { level: 2, name: 'by_type' }).waitFor();
        await page.goBack();
        // Without an answer nobody knows: it is said, and while it runs the dialog stays.
        /** @type {((value?: unknown) => void) | undefined} */
        let hangUp;
        const hung = new Promise((resolve) => {
          hangUp = resolve;
        });
        await page.route('**/api/sections/by_type', async (route) => {
          if (route.request().method() !== 'DELETE') return route.continue();
          await hung;
          return route.abort();
        });
        await change.getByRole('button', { name: 'Remove' }).click();
        await dialog.getByRole('button', { name: 'Remove' }).click();
        await page.keyboard.press('Escape');
        await page.keyboard.press('Escape');
        assert.equal(await dialog.count(), 1, 'a change is under way');
        hangUp();
        await dialog.getByText('Outcome unknown').waitFor();
        await judgeAll(page, 'an unknown outcome');
        await page.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' });
        await page.unroute('**/api/sections/by_type');
        await change.getByRole('button', { name: 'Remove' }).click();
        await dialog.getByRole('button', { name: 'Remove' }).click();
        await until(
          'it is gone',
          async () =>
            !(await ask('api/metrics')).metrics.some(
              (one) => one.name === 'by_type' && one.state === 'active',
            ),
        );
      },
    ],
  ],
  () => `${proved} numbers of a metric before it is there and then; axe-core ${judged.runs} times`,
);
