// Boards: a question is pinned, arranged by keyboard and by pointer, kept, exported and imported,
// shared by its address, and shown on a wall.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { live, LOOKS, open, play, until } from './browser.mjs';
import { judgeAll, judged } from './axe.mjs';
import { counted } from './load.mjs';
import { blocks, proved } from './proof.mjs';

let numbers = 0;
const items = (page) => page.locator('[data-item]');
const place = async (item) =>
  item.evaluate((one) => `${one.style.gridColumn} ${one.style.gridRow}`);

/** Pins questions, and goes to their board. */
async function pinned(page, questions) {
  for (const view of questions) {
    await page.evaluate((to) => {
      location.hash = to;
    }, view);
    await page.locator('main [data-metric] data[data-at]').first().waitFor();
    await page.getByRole('button', { name: 'Pin to a board' }).click();
    await page.getByRole('link', { name: /^open / }).waitFor();
  }
  await page.getByRole('link', { name: /^open / }).click();
  await until('its items', async () => (await items(page).count()) === questions.length);
}

const QUESTIONS = [
  '#/explore/event_frequencies?params={}&live=1',
  '#/explore/products_popularity?params={"limit":3}&live=1',
];

await play(
  [
    [
      'none, then pinned, arranged by keyboard, and kept',
      async (browser) => {
        await counted(0, 2000);
        const page = await open(browser, '#/boards');
        await live(page);
        await page.getByText('No boards yet').waitFor();
        await judgeAll(page, 'no board');
        await pinned(page, QUESTIONS);
        await until(
          'each is answered',
          async () => (await blocks(page)).filter((one) => one.metric).length === 2,
        );
        numbers += await proved(page, 5);
        await judgeAll(page, 'a board');
        // By keyboard alone.
        await page.locator('main h1').focus();
        await page.keyboard.press('a');
        const moved = page.locator(
          `[data-item="${await items(page).first().getAttribute('data-item')}"]`,
        );
        const grip = moved.getByRole('button', { name: /^Move / });
        await grip.focus();
        const before = await place(moved);
        await page.keyboard.press('Enter');
        assert.equal(await grip.getAttribute('aria-pressed'), 'true');
        await page.keyboard.press('ArrowDown');
        await page.keyboard.press('Shift+ArrowDown');
        await judgeAll(page, 'a board that is arranged');
        await grip.focus();
        if ((await grip.getAttribute('aria-pressed')) === 'true')
          await page.keyboard.press('Enter');
        await until('another place', async () => (await place(moved)) !== before);
        const after = await place(moved);
        // Escape puts it back.
        await grip.focus();
        await page.keyboard.press('Enter');
        await page.keyboard.press('Shift+ArrowDown');
        await page.keyboard.press('Escape');
        assert.equal(await place(moved), after);
        await page.getByRole('button', { name: 'Done' }).click();
        // It is kept.
        await page.reload();
        await live(page);
        await until('its items', async () => (await items(page).count()) === QUESTIONS.length);
        // By pointer.
        await page.getByRole('button', { name: 'Arrange' }).click();
        const dragged = items(page).last();
        const handle = dragged.getByRole('button', { name: /^Move / });
        const from = await place(dragged);
        const box = await handle.boundingBox();
        await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
        await page.mouse.down();
        await page.mouse.move(box.x + 320, box.y + 240, { steps: 8 });
        await page.mouse.up();
        await until('it is dragged', async () => (await place(dragged)) !== from);
        // One is removed, and comes back.
        await page
          .getByRole('button', { name: /^Remove / })
          .last()
          .click();
        await page.getByRole('button', { name: 'Undo' }).click();
        await until('it is back', async () => (await items(page).count()) === QUESTIONS.length);
      },
    ],
    [
      'exported, imported, shared, and on a wall',
      async (browser) => {
        const page = await open(browser, '#/boards');
        await live(page);
        await pinned(page, QUESTIONS);
        const [file] = await Promise.all([
          page.waitForEvent('download'),
          page.getByRole('button', { name: 'Export', exact: true }).click(),
        ]);
        const document = readFileSync(await file.path(), 'utf8');
        assert.equal(JSON.parse(document).items.length, QUESTIONS.length);
        await page.getByRole('button', { name: 'Share', exact: true }).click();
        const dialog = page.getByRole('dialog', { name: 'Share' });
        const address = await dialog
          .getByLabel('address', { exact: true })
          .locator('xpath=descendant-or-self::pre')
          .first()
          .innerText();
        await judgeAll(page, 'an address to share');
        await page.keyboard.press('Escape');
        await dialog.waitFor({ state: 'detached' });
        // Whoever has the address sees the same, read-only, and may keep a copy.
        const other = await open(browser, new URL(address).hash);
        await live(other);
        await until('its items', async () => (await items(other).count()) === QUESTIONS.length);
        numbers += await proved(other, 5);
        await judgeAll(other, 'a board from an address');
        await other.getByRole('button', { name: 'Save a copy' }).click();
        await other.getByRole('button', { name: 'Done' }).waitFor();
        await other.keyboard.press('g');
        await other.keyboard.press('b');
        // From a file; one that is none says what is wrong with it.
        const chosen = other.locator('input[type="file"]');
        await chosen.setInputFiles({
          name: 'wrong.json',
          mimeType: 'application/json',
          buffer: Buffer.from('{"title":7}'),
        });
        await other.getByText('wrong.json').first().waitFor();
        await judgeAll(other, 'a file that is no board');
        await chosen.setInputFiles({
          name: 'board.json',
          mimeType: 'application/json',
          buffer: Buffer.from(document),
        });
        await until('its items', async () => (await items(other).count()) === QUESTIONS.length);
        // On a wall: without header and tools.
        const hash = new URL(page.url()).hash.split('?')[0];
        await page.evaluate((to) => {
          location.hash = to;
        }, `${hash}?wall=1`);
        await page.getByRole('button', { name: 'Leave the wall' }).waitFor();
        assert.equal(await page.locator('nav:visible').count(), 0);
        await judgeAll(page, 'a wall');
        await page.getByRole('button', { name: 'Leave the wall' }).click();
        await page.getByRole('button', { name: 'Wall' }).waitFor();
        // On paper: no buttons.
        await page.emulateMedia({ media: 'print' });
        assert.equal(await page.locator('main button:visible:not(th button)').count(), 0);
        await page.emulateMedia({ media: 'screen' });
        await page.setViewportSize(LOOKS.narrow.viewport);
        await judgeAll(page, 'a board, narrow');
      },
    ],
  ],
  () => `${numbers} numbers on boards; axe-core ${judged.runs} times`,
);
