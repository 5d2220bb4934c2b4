// Says which lines of the sources are longer than the width. Prettier wraps code; comments, texts
// and templates it leaves as they are. Changes nothing.

import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join, relative } from 'node:path';

const here = fileURLToPath(new URL('.', import.meta.url));
const { printWidth } = JSON.parse(readFileSync(join(here, '.prettierrc.json'), 'utf8'));

/** Folders of sources, and the files below them that are read. */
const SOURCES = [
  ['.', /^[^/]+\.mjs$/],
  ['src', /\.(js|ts|css)$/],
  ['../../tests/tests/page', /^[^/]+\.mjs$/],
];

/** @param {string} folder @returns {string[]} its files, by their paths in it */
function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (!entry.isDirectory()) return [entry.name];
    if (entry.name === 'node_modules') return [];
    return filesIn(join(folder, entry.name)).map((name) => `${entry.name}/${name}`);
  });
}

for (const [folder, read] of SOURCES) {
  for (const name of filesIn(join(here, folder)).filter((file) => read.test(file))) {
    const path = join(here, folder, name);
    readFileSync(path, 'utf8')
      .split('\n')
      .forEach((line, at) => {
        const columns = [...line].length;
        if (columns <= printWidth) return;
        console.error(`${relative(here, path)}:${at + 1}: ${columns} of ${printWidth} columns`);
        process.exitCode = 1;
      });
  }
}
