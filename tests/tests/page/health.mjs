// Health: what the engine says of itself, number by number, and what to do where something is
// wrong.
import assert from 'node:assert/strict';
import { altered, ask, live, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted, feed } from './load.mjs';
import { blocks, provedLive, tap } from './proof.mjs';

let numbers = 0;

await play(
  [
    [
      'each number is that of the status',
      async (browser) => {
        await counted(0, 1000);
        let tapped;
        const page = await open(browser, '#/health', {
          before: (made) => {
            tapped = tap(made);
          },
        });
        await live(page);
        const stop = feed(50);
        try {
          numbers += await provedLive(page, tapped, { moves: 8 });
        } finally {
          await stop();
        }
        const { partitions, readiness } = await ask('api/status');
        for (const name of [
          'Readiness',
          'Partitions',
          'Memory',
          'Connections',
          'Threads',
          'Limits hit',
        ])
          await page.getByRole('heading', { level: 2, name }).waitFor();
        assert.equal(
          await page
            .getByRole('table', { name: 'Partitions of the log' })
            .locator('tbody tr')
            .count(),
          partitions.length,
        );
        assert.equal(
          await page.getByRole('table', { name: 'Readiness checks' }).locator('tbody tr').count(),
          readiness.length,
        );
        const shown = (await blocks(page)).find(
          (one) => one.source === 'api/status' && one.numbers.length > 10,
        );
        assert.ok(shown, 'the view says where its numbers are from');
        await judgeAll(page, 'health');
      },
    ],
    [
      'what is wrong is said, with what to do',
      async (browser) => {
        const page = await open(browser, '#/health', {
          before: (made) =>
            altered(made, /\/api\/status$/, (status) => {
              status.ready = false;
              Object.assign(
                status.readiness.find((line) => line.name === 'counting'),
                { ok: false, why: 'the disk is full', remedy: 'make room', what: undefined },
              );
              status.limits_hit = [{ code: 'answer_too_large', count: 3 }];
            }),
        });
        await live(page);
        const line = page
          .getByRole('table', { name: 'Readiness checks' })
          .getByRole('row')
          .filter({ hasText: 'counting' });
        await until('the line says it', async () =>
          /the disk is full[\s\S]*make room/.test(await line.innerText()),
        );
        await page
          .getByRole('table', { name: 'Limits that were hit' })
          .getByText('3', { exact: true })
          .waitFor();
        await judgeAll(page, 'health, not in order');
      },
    ],
  ],
  () => `${numbers} numbers of the status; axe-core ${judged.runs} times`,
);
