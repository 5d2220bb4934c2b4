// Explore: a question is made by a form, its answer seen as chart, table and JSON, live and fixed,
// kept in the address, taken away as files, and asked elsewhere; by pointer and by keyboard.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { ask, base, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted } from './load.mjs';
import { canonical, proved } from './proof.mjs';

let numbers = 0;

/** What the address holds. */
const query = (page) => new URLSearchParams(new URL(page.url()).hash.split('?')[1]);
const params = (page) => JSON.parse(query(page).get('params') ?? 'null');
const asks = (page, wanted) =>
  until(
    `the address has ${JSON.stringify(wanted)}`,
    () =>
      canonical(params(page)) === canonical(wanted) ||
      (() => {
        throw new Error(page.url());
      })(),
  );
const answer = (page) =>
  page
    .locator('section')
    .filter({ has: page.getByRole('heading', { level: 2, name: 'Answer', exact: true }) });

/** A field of the form, unfolded. */
async function field(page, name) {
  const more = page.locator('.explore-more');
  if (!(await more.evaluate((details) => details.open))) await more.locator('summary').click();
  return page.getByLabel(name, { exact: false }).first();
}

async function downloaded(page, name) {
  const [file] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name }).click(),
  ]);
  return readFileSync(await file.path(), 'utf8');
}

await play(
  [
    [
      'a metric is chosen, and answers its example',
      async (browser) => {
        await counted(0, 3000);
        const page = await open(browser, '#/explore');
        await live(page);
        await judgeAll(page, 'the list of metrics');
        await page
          .locator('main')
          .getByRole('link', { name: 'products_popularity' })
          .first()
          .click();
        await page.getByRole('heading', { level: 1, name: 'products_popularity' }).waitFor();
        await answer(page).waitFor();
        numbers += await proved(page, 5, () => ['names']);
        await judgeAll(page, 'an answer');
        // Names come from the catalogue.
        await page.getByText('Lamp').first().waitFor();
      },
    ],
    [
      'from the list: files can be had, and faults are at their fields',
      async (browser) => {
        const enter = [
          async (page) =>
            page.locator('main').getByRole('link', { name: 'products_popularity' }).first().click(),
          async (page) => {
            await page.getByRole('searchbox').fill('popularity');
            await page.keyboard.press('Enter');
          },
        ];
        for (const way of enter) {
          const page = await open(browser, '#/', { expected: /422/ });
          await live(page);
          await page.locator('main h1').focus();
          await page.keyboard.press('g');
          await page.keyboard.press('e');
          await page.getByRole('heading', { level: 1, name: 'Explore' }).waitFor();
          await way(page);
          await answer(page).locator('data[data-at]').first().waitFor();
          assert.equal(new URL(page.url()).hash.split('?')[0], '#/explore/products_popularity');
          assert.ok((await downloaded(page, /CSV/)).trim().split('\n').length > 1);
          assert.equal(JSON.parse(await downloaded(page, /JSON file/)).name, 'products_popularity');
          const limit = await field(page, 'limit');
          await limit.fill('0');
          await until(
            'a fault at the field',
            async () => (await limit.getAttribute('aria-invalid')) === 'true',
          );
          await limit.fill('2');
          await until(
            'it is gone',
            async () => (await limit.getAttribute('aria-invalid')) === null,
          );
          await page.getByRole('link', { name: 'All metrics' }).click();
          await page.getByRole('heading', { level: 1, name: 'Explore' }).waitFor();
        }
      },
    ],
    [
      'a form, with faults at their fields',
      async (browser) => {
        const page = await open(browser, '#/explore/products_popularity?params={}&live=1', {
          expected: /422/,
        });
        await live(page);
        const limit = await field(page, 'limit');
        await limit.fill('3');
        await asks(page, { limit: 3 });
        await until(
          'three rows',
          async () => (await answer(page).locator('tbody tr').count()) === 3,
        );
        numbers += await proved(page, 5, () => ['names']);
        // What the schema does not allow is said at the field, and asked again when it is mended.
        await limit.fill('0');
        await until(
          'a fault at the field',
          async () => (await limit.getAttribute('aria-invalid')) === 'true',
        );
        await judgeAll(page, 'a fault at a field');
        await limit.fill('2');
        await until('two rows', async () => (await answer(page).locator('tbody tr').count()) === 2);
        assert.notEqual(await limit.getAttribute('aria-invalid'), 'true');
        // All faults of the server, each at its field.
        await page.evaluate(() => {
          location.hash = '#/explore/products_popularity?params={"limit":0,"order":"up"}&live=0';
        });
        await until(
          'two faults',
          async () => (await page.locator('[aria-invalid="true"], .field .fault').count()) >= 2,
        );
        await page.getByRole('button', { name: 'Clear' }).click();
        await asks(page, {});
        numbers += await proved(page, 5, () => ['names']);
      },
    ],
    [
      'one range: a preset, or one of its own',
      async (browser) => {
        const page = await open(browser, '#/explore/event_frequencies?params={}&live=0');
        await live(page);
        const range = page.getByRole('group', { name: /^window/ });
        await range.getByRole('button', { name: '2h' }).click();
        await asks(page, { window: '2h' });
        assert.equal(await page.getByLabel('from', { exact: false }).count(), 0);
        await range.getByRole('button', { name: 'custom' }).click();
        await judgeAll(page, 'a range of its own');
        await page.getByLabel(/^length/).fill('90m');
        await asks(page, { window: '90m' });
        await page.getByLabel(/^from/).first().fill('2026-01-01T00:00:00Z');
        await asks(page, { from: '2026-01-01T00:00:00Z' });
        await range.getByRole('button', { name: '24h' }).click();
        await asks(page, { window: '24h' });
        assert.equal(
          await range.getByRole('button', { name: '24h' }).getAttribute('aria-pressed'),
          'true',
        );
        // Whoever opens an address with a start sees it.
        await page.evaluate(() => {
          location.hash =
            '#/explore/event_frequencies?params={"from":"2026-01-01T00:00:00Z"}&live=0';
        });
        await until(
          'the start is in the form',
          async () =>
            (await page.getByLabel(/^from/).first().inputValue()) === '2026-01-01T00:00:00Z',
        );
      },
    ],
    [
      'required params, found in the catalogue',
      async (browser) => {
        const page = await open(browser, '#/explore/user_activities?params={}', {
          expected: /422/,
        });
        await live(page);
        await page.locator('[data-state="params-missing"]').first().waitFor();
        await judgeAll(page, 'params are missing');
        const user = page.getByRole('combobox', { name: /user/i }).first();
        await user.fill('Ada');
        await page.locator('main').getByRole('option', { name: /Ada/ }).first().waitFor();
        await user.press('ArrowDown');
        await user.press('Enter');
        await asks(page, { user_id: 1 });
        await answer(page).locator('data[data-at]').first().waitFor();
        numbers += await proved(page, 5, () => ['names']);
      },
    ],
    [
      'chart, table, JSON; a range by keyboard, and back',
      async (browser) => {
        const start = { window: '2h', bucket: '5m' };
        const page = await open(
          browser,
          `#/explore/event_frequencies?params=${JSON.stringify(start)}&live=1`,
        );
        await live(page);
        await answer(page).locator('canvas').first().waitFor();
        await judgeAll(page, 'a chart');
        const chart = answer(page)
          .locator('[tabindex="0"]')
          .filter({ has: page.locator('canvas') })
          .first();
        await chart.focus();
        for (const key of ['Home', 'ArrowRight', 'Shift+ArrowRight', 'Shift+ArrowRight', 'Enter'])
          await page.keyboard.press(key);
        await until(
          'the range is in the address',
          () => params(page).from !== undefined && params(page).to !== undefined,
        );
        await until(
          'its answer',
          async () => JSON.parse(await answer(page).getAttribute('data-params')).from !== undefined,
        );
        await page.getByRole('button', { name: 'Undo range' }).click();
        await asks(page, start);
        // A table is behind each chart.
        await page.getByRole('tab', { name: 'Table' }).click();
        await answer(page).getByRole('table').first().waitFor();
        await until('it is in the address', () => query(page).get('view') === 'table');
        numbers += await proved(page, 5);
        await judgeAll(page, 'a table');
        await page.getByRole('tab', { name: 'Table' }).press('ArrowRight');
        const json = JSON.parse(
          await answer(page)
            .getByLabel('JSON', { exact: true })
            .locator('xpath=descendant-or-self::pre')
            .first()
            .innerText(),
        );
        assert.ok(json.result.total > 0);
        await judgeAll(page, 'an answer as JSON');
        await until('it is in the address', () => query(page).get('view') === 'json');
        // Whoever opens the address sees the same.
        const [other] = [await open(browser, new URL(page.url()).hash)];
        await live(other);
        await answer(other).getByLabel('JSON', { exact: true }).first().waitFor();
      },
    ],
    [
      'files, and the same question elsewhere',
      async (browser) => {
        const page = await open(browser, '#/explore/products_popularity?params={"limit":3}&live=0');
        await live(page);
        await answer(page).locator('data[data-at]').first().waitFor();
        const csv = await downloaded(page, /CSV/);
        assert.equal(csv.trim().split('\n').length, 4, csv);
        const file = JSON.parse(await downloaded(page, /JSON file/));
        const { result } = await ask('api/metrics', {
          name: 'products_popularity',
          params: { limit: 3 },
          expand: ['names'],
        });
        assert.deepEqual(file.result, result);
        for (const name of ['WebSocket', 'SSE', 'Python', 'TypeScript', 'curl']) {
          await page.getByRole('tab', { name, exact: true }).click();
          const text = await page
            .getByLabel(name, { exact: true })
            .locator('xpath=descendant-or-self::pre')
            .first()
            .innerText();
          assert.ok(
            text.includes('products_popularity') && text.includes(new URL(base).host),
            text,
          );
        }
        await page.getByRole('button', { name: 'Copy curl' }).click();
        assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl/);
      },
    ],
  ],
  () => `${numbers} numbers explored; axe-core ${judged.runs} times`,
);
