// The overview: its numbers at rest and live, what it says of itself, and whether it can be told
// from its machine-readable twin.
import assert from 'node:assert/strict';
import { ask, base, live, open, play, until } from './browser.mjs';
import { counted, feed } from './load.mjs';
import { complete, proved, provedLive, tap } from './proof.mjs';

let numbers = 0;

await play(
  [
    [
      'every number at rest is that of a POST',
      async (browser) => {
        await counted(0, 3000);
        const page = await open(browser);
        await live(page);
        const { metrics } = await ask('api/metrics');
        await until('a card for each metric', async () => {
          for (const { name } of metrics)
            assert.equal(await page.getByRole('heading', { level: 2, name }).count(), 1, name);
          return true;
        });
        await complete(page);
        numbers += await proved(page, 20);
      },
    ],
    [
      'every number live is that of its message',
      async (browser) => {
        let tapped;
        const page = await open(browser, '#/', {
          before: (made) => {
            tapped = tap(made);
          },
        });
        await live(page);
        const stop = feed(200);
        try {
          numbers += await provedLive(page, tapped, { moves: 60 });
        } finally {
          await stop();
        }
        // And when it has come to rest again.
        numbers += await proved(page, 20);
      },
    ],
    [
      'paused, nothing moves, and it goes on where it is',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        await complete(page);
        await page.keyboard.press('p');
        await page.getByText('paused', { exact: true }).waitFor();
        const text = () => page.locator('.cards').innerText();
        const before = await text();
        await counted(10_000, 10_500, { over: 1000 });
        const page2 = await open(browser);
        await until(
          'another page shows them',
          async () => (await page2.locator('.cards').innerText()) !== before,
        );
        assert.equal(await text(), before);
        await page.keyboard.press('p');
        await until('it goes on', async () => (await text()) !== before);
        numbers += await proved(page, 20);
      },
    ],
    [
      'each link that says JSON leads to JSON',
      async (browser) => {
        const page = await open(browser);
        await live(page);
        await page.locator('.cards .twin').first().waitFor();
        const links = await page.locator('a.twin').evaluateAll((all) => all.map((one) => one.href));
        assert.ok(links.length >= 4, `${links}`);
        for (const link of links) {
          assert.ok(link.startsWith(base), link);
          const answer = await fetch(link);
          assert.equal(answer.status, 200, link);
          assert.match(answer.headers.get('content-type'), /json/);
        }
      },
    ],
  ],
  () => `${numbers} numbers`,
);
