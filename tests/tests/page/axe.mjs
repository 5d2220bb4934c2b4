// axe-core on what a page shows at this moment: no violation, of the rules of WCAG 2.2 AA and of good practice.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { installed, LOOKS } from './browser.mjs';

const source = readFileSync(installed.resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** How often it was run, and how many rules it has. */
export const judged = { runs: 0, passes: 0 };

export async function judge(page, what) {
  // By the browser's tools: a policy of content does not concern them.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(source);
  const { violations, passes } = await page.evaluate((tags) => window.axe.run(document, { runOnly: tags, resultTypes: ['violations'] }), TAGS);
  const told = violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 5).map((node) => `${node.target.join(' ')} ${node.failureSummary}`).join(' | ')}`);
  assert.deepEqual(told, [], `axe-core at ${what} (${page.url()})`);
  judged.runs += 1;
  judged.passes += passes.length;
  return judged.runs;
}

/** The same in every look: light, dark, narrow. Nothing is wider than its window. */
export async function judgeAll(page, what) {
  for (const [name, { colorScheme, viewport }] of Object.entries(LOOKS)) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    const [width, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(width <= room, `${what}, ${name}: ${width} px wide where ${room} are`);
    await judge(page, `${what}, ${name}`);
  }
  await page.emulateMedia({ colorScheme: LOOKS.light.colorScheme });
  await page.setViewportSize(LOOKS.light.viewport);
}
