// Plugins: how each metric is, two revisions side by side, promotion and roll-back told before they
// are done, files that are refused, and what happens as it does.
import assert from 'node:assert/strict';
import { act, ask, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted } from './load.mjs';

const WEIGHTS =
  '[metrics.products_popularity.config.weights]\nview = 7\nadd_to_cart = 7\nbuy = 70\n';

const score = async () =>
  (await ask('api/metrics', { name: 'products_popularity', params: { limit: 1 } })).result
    .products[0].score;

await play(
  [
    [
      'the list, and what was refused',
      async (browser) => {
        await counted(0, 2000);
        const page = await open(browser, '#/plugins');
        await live(page);
        const table = page.getByRole('table', { name: /^Metrics/ });
        await until('a row for each', async () => (await table.locator('tbody tr').count()) === 3);
        await judgeAll(page, 'plugins');
        await act('spoil', { plugin: 'event_frequencies' });
        await page
          .locator('main [data-state="refused"]')
          .filter({ hasText: 'spoilt.so' })
          .waitFor();
        await judgeAll(page, 'a refused file');
        await act('remove', { plugin: 'spoilt' });
        await act('plugin', { plugin: 'unique_visitors' });
        await until(
          'a row comes by itself',
          async () => (await table.locator('tbody tr').count()) === 4,
        );
        // What happened is told as it came.
        await until('its life is told', async () =>
          (await page.locator('main').innerText()).includes('unique_visitors'),
        );
        await table.getByRole('link', { name: 'event_frequencies' }).click();
        await page.getByRole('heading', { level: 1, name: /event_frequencies/ }).waitFor();
        const { versions } = await ask('api/metrics/event_frequencies/versions');
        await until('version, revision, file and hash', async () => {
          const text = await page.locator('main').innerText();
          for (const key of ['version', 'revision', 'file', 'sha256'])
            assert.ok(text.includes(String(versions[0][key])), key);
          return true;
        });
        await judgeAll(page, 'a plugin');
      },
    ],
    [
      'two revisions: side by side, back, and forward',
      async (browser) => {
        const page = await open(browser, '#/plugins/products_popularity');
        await live(page);
        const first = await score();
        // What cannot be done is disabled, and why is said beside it.
        for (const [action, why] of [
          ['Promote', 'There is no newer revision.'],
          ['Roll back', 'No previous revision is kept.'],
          ['Purge', 'It is served'],
        ]) {
          assert.ok(await page.getByRole('button', { name: action }).isDisabled(), action);
          await page.getByText(why).waitFor();
        }
        await judgeAll(page, 'changes that are not possible');
        await act('configure', { config: WEIGHTS });
        await until('another revision answers', async () => (await score()) > 2 * first);
        const second = await score();
        await page.getByText('previous').first().waitFor();
        await page.getByText('differ', { exact: false }).first().waitFor();
        await judgeAll(page, 'two revisions');
        for (const [action, wanted] of [
          ['Roll back', first],
          ['Promote', second],
        ]) {
          await page.getByRole('button', { name: action }).click();
          const dialog = page.getByRole('dialog');
          await dialog.getByText(/would/).waitFor();
          const before = await score();
          assert.notEqual(before, wanted, 'nothing is done before it is confirmed');
          await judgeAll(page, `before: ${action}`);
          await dialog.getByRole('button', { name: action }).click();
          await dialog.waitFor({ state: 'detached' });
          await until(`${action} is done`, async () => (await score()) === wanted);
        }
      },
    ],
  ],
  () => `2 journeys through plugins; axe-core ${judged.runs} times`,
);
