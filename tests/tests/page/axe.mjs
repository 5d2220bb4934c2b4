// What a page shows at this moment, judged for everyone: no violation of the rules of WCAG 2.2 AA
// and of good practice by axe-core, and a name in the tree of accessibility for all that can be
// operated.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { installed, LOOKS } from './browser.mjs';

const source = readFileSync(installed.resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** How often it was run, how many rules it has, and how many controls were looked at. */
export const judged = { runs: 0, passes: 0, controls: 0 };

/** What can be operated, beside what takes the focus. */
const CONTROLS = new Set([
  'button',
  'checkbox',
  'combobox',
  'DisclosureTriangle',
  'link',
  'listbox',
  'menuitem',
  'option',
  'radio',
  'searchbox',
  'slider',
  'spinbutton',
  'switch',
  'tab',
  'textbox',
  'treeitem',
]);

/** What takes the focus by script only, and is named by its heading or title. */
const PLACES = new Set(['RootWebArea', 'main']);

/**
 * Everything that can be operated has a name, as the browser tells it to assistive technology, and
 * nothing that can be seen is left out there.
 */
async function named(page, what) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  await session.detach();
  const told = nodes.filter(({ ignored, role, properties = [] }) => {
    const focusable = properties.some((one) => one.name === 'focusable' && one.value.value);
    return !ignored && !PLACES.has(role.value) && (focusable || CONTROLS.has(role.value));
  });
  const nameless = told
    .filter(({ name }) => !name?.value?.trim())
    .map(({ role, properties }) => `${role.value} ${JSON.stringify(properties)}`);
  assert.deepEqual(nameless, [], `without a name at ${what} (${page.url()})`);
  const seen = await page.evaluate(() => {
    const all = 'a[href], button, input, select, textarea, summary, [role=combobox], [role=tab]';
    // What lies below a dialog cannot be operated.
    const top = document.querySelector('dialog:modal') ?? document;
    return [...top.querySelectorAll(all)].filter(
      (one) =>
        !one.closest('[aria-hidden=true], [inert]') &&
        one.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }),
    ).length;
  });
  assert.ok(told.length >= seen, `${seen} controls are seen at ${what}, ${told.length} are told`);
  judged.controls += told.length;
}

export async function judge(page, what) {
  // By the browser's tools: a policy of content does not concern them.
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(source);
  const { violations, passes } = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: tags, resultTypes: ['violations'] }),
    TAGS,
  );
  const told = violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes
        .slice(0, 5)
        .map((node) => `${node.target.join(' ')} ${node.failureSummary}`)
        .join(' | ')}`,
  );
  assert.deepEqual(told, [], `axe-core at ${what} (${page.url()})`);
  await named(page, what);
  judged.runs += 1;
  judged.passes += passes.length;
  return judged.runs;
}

/** The same in every look: light, dark, narrow. Nothing is wider than its window. */
export async function judgeAll(page, what) {
  for (const [name, { colorScheme, viewport }] of Object.entries(LOOKS)) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    const [width, room] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ]);
    assert.ok(width <= room, `${what}, ${name}: ${width} px wide where ${room} are`);
    await judge(page, `${what}, ${name}`);
  }
  await page.emulateMedia({ colorScheme: LOOKS.light.colorScheme });
  await page.setViewportSize(LOOKS.light.viewport);
}
