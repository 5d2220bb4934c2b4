// Events: the live feed with its filters, pause and bound; one event whole; back in the log; dead
// letters.
import assert from 'node:assert/strict';
import { ask, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted, event, feed, post, reached } from './load.mjs';

/** Most that the feed keeps. */
const MOST = 500;

const rows = (page) => page.locator('main .event');

await play(
  [
    [
      'events as they come',
      async (browser) => {
        await counted(0, 500);
        const page = await open(browser, '#/events');
        await live(page);
        await judgeAll(page, 'a feed in which nothing has come');
        await post([{ ...event(600), note: 'seen at once' }]);
        await page.getByText('seen at once').waitFor();
        const log = page.getByRole('log');
        assert.equal(
          await log.getAttribute('aria-live'),
          'off',
          'a feed does not talk without end',
        );
        await judgeAll(page, 'a feed');
        // One event whole, by keyboard.
        const link = rows(page).filter({ hasText: 'seen at once' }).getByRole('link').first();
        const place = (await link.getAttribute('href')).match(/records\/(\d+)\/(\d+)/);
        await link.focus();
        await page.keyboard.press('Enter');
        await page
          .getByRole('heading', { level: 1, name: `Record ${place[1]}/${place[2]}` })
          .waitFor();
        await page.getByText('seen at once').first().waitFor();
        assert.match(await page.locator('main').innerText(), /event/);
        const twin = await ask(`api/records/${place[1]}/${place[2]}`);
        assert.equal(twin.verdict.event.note, 'seen at once');
        await judgeAll(page, 'a record');
        await page.goBack();
        await page.getByRole('heading', { level: 1, name: 'Events' }).waitFor();
      },
    ],
    [
      'much at once: bounded, paused, honest',
      async (browser) => {
        const page = await open(browser, '#/events');
        await live(page);
        const stop = feed(2000, 10_000);
        try {
          await rows(page).first().waitFor();
          await until(
            'the feed is full',
            async () =>
              Number(
                await page
                  .getByRole('log')
                  .first()
                  .evaluate((one) => one.querySelectorAll('*').length),
              ) > 50,
          );
          assert.ok((await rows(page).count()) <= MOST, 'no more than are kept');
          await page
            .getByRole('button', { name: /^Pause/ })
            .last()
            .click();
          const held = await page.getByRole('log').innerText();
          await page.getByRole('button', { name: /^Show .* new$/ }).waitFor();
          assert.equal(await page.getByRole('log').innerText(), held);
          await judgeAll(page, 'a feed that is paused');
          await page.getByRole('button', { name: /^Show .* new$/ }).click();
          await until('it goes on', async () => (await page.getByRole('log').innerText()) !== held);
        } finally {
          await stop();
        }
      },
    ],
    [
      "filters are the server's, and in the address",
      async (browser) => {
        const page = await open(browser, '#/events?event_types=buy');
        await live(page);
        await post(Array.from({ length: 70 }, (_, at) => event(100_000 + at)));
        await until('ten purchases', async () => (await rows(page).count()) === 10);
        for (const text of await rows(page).allInnerTexts()) assert.match(text, /buy/);
      },
    ],
    [
      'back in the log, page by page',
      async (browser) => {
        const page = await open(browser, '#/events?back=1');
        await live(page);
        await rows(page).first().waitFor();
        await judgeAll(page, 'back in the log');
        const { items } = await ask('api/events?limit=5');
        const first = await rows(page).first().getByRole('link').getAttribute('href');
        const [partition, next] = items[0].position.split(':');
        assert.ok(
          first.endsWith(`records/${partition}/${Number(next) - 1}`),
          `${first} ${items[0].position}`,
        );
        await page.getByRole('button', { name: 'Older events' }).click();
        await page.getByText(/200 events, back to/).waitFor();
      },
    ],
    [
      'dead letters: none, then by reason, and replayed',
      async (browser) => {
        const page = await open(browser, '#/letters');
        await live(page);
        await page.locator('main [data-state="nothing"]').waitFor();
        await judgeAll(page, 'no dead letters');
        const answer = await fetch(new URL('api/events', page.url()), {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify([{ user_id: 1 }]),
        });
        assert.equal(answer.status, 200);
        await reached(await post([event(200_000)]));
        // A record that is no event comes by another way than POST, which refuses it: the answer is
        // altered.
        await page.context().close();
        const letter = {
          topic: 'log',
          partition: 0,
          offset: 7,
          reason: 'missing_field:product_id',
          timestamp: new Date().toISOString(),
          length: 40,
          payload: '{"user_id":1,"event_type":"<img src=x>"}',
          encoding: 'text',
        };
        const altered = await open(browser, '#/letters', {
          before: async (made) => {
            await made.route(/\/api\/dead-letters(\?|$)/, (route) =>
              route.fulfill({
                json: {
                  counts: { 'missing_field:product_id': 3, invalid_json: 1 },
                  items: [letter],
                },
              }),
            );
            await made.route(/\/api\/dead-letters\/replay/, (route) =>
              route.fulfill({ json: { appended: 1, still_refused: 2, in_log: 0 } }),
            );
          },
        });
        await live(altered);
        await altered.getByText('missing_field:product_id').first().waitFor();
        await judgeAll(altered, 'dead letters');
        await altered.getByRole('button', { name: 'Replay missing_field:product_id' }).click();
        const dialog = altered.getByRole('dialog', { name: /Replay missing_field:product_id/ });
        await dialog.getByText(/cannot be undone/).waitFor();
        await judgeAll(altered, 'before a replay');
        await dialog.getByRole('button', { name: 'Replay', exact: true }).click();
        await dialog.getByText('appended', { exact: false }).first().waitFor();
        await dialog.getByRole('button', { name: 'Close' }).last().click();
        await dialog.waitFor({ state: 'detached' });
      },
    ],
  ],
  () => `5 journeys through events; axe-core ${judged.runs} times`,
);
