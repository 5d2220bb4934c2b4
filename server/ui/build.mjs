// Builds the page into dist/: one script, one style sheet, an icon, the document and the licences;
// what the program embeds of them is written by embed.mjs.
//
// Promises the same bytes for the same sources, names that change with their content, and a failure
// where all of it together is larger than a first visit may cost. Fetches nothing.

import { transformAsync } from '@babel/core';
import htm from 'babel-plugin-htm';
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { minify } from 'terser';
import { embed } from './embed.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const dist = join(here, 'dist');

/** Largest size of all that a first visit fetches, as it is sent: all but the licences. */
const LIMIT = 80 * 1024;

const LICENCES = 'licenses.txt';

/**
 * Calls have this name: a variable of a module that has it too would be called in place of Preact.
 */
const CALL = 'h';

/** @type {(types: any) => { visitor: Record<string, (path: any) => void> }} */
const unhidden = () => ({
  visitor: {
    Scope({ scope }) {
      for (const name of [CALL, 'html']) {
        const own = scope.bindings[name];
        if (own && own.kind !== 'module')
          throw own.path.buildCodeFrameError(
            `a variable named ${name} hides what templates become: give it another name`,
          );
      }
    },
  },
});

/**
 * Templates become calls while the page is built, so that it neither holds their parser nor runs
 * it.
 * @type {import('esbuild').Plugin}
 */
const templates = {
  name: 'templates',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/.*\.js$/ }, async ({ path }) => {
      if (path.includes('node_modules')) return undefined;
      const source = await readFile(path, 'utf8');
      if (!source.includes('html`')) return undefined;
      const plugins = [
        unhidden,
        [htm, { pragma: CALL, tag: 'html', import: false, useNativeSpread: true }],
      ];
      const { code } = await transformAsync(source, {
        babelrc: false,
        configFile: false,
        filename: path,
        plugins,
      });
      const contents = code.replace(
        /^import \{ html \} from .*$/m,
        `import { ${CALL} } from 'preact';`,
      );
      if (contents === code || /\bhtml\b`/.test(contents))
        throw new Error(`${path}: a template is left`);
      return { contents, loader: 'js' };
    });
  },
};

async function bundle() {
  const { outputFiles, metafile } = await build({
    absWorkingDir: here,
    bundle: true,
    charset: 'utf8',
    define: { 'process.env.NODE_ENV': '"production"' },
    entryPoints: { app: 'src/main.js', style: 'src/style/app.css' },
    format: 'esm',
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
    minify: true,
    outdir: 'dist',
    plugins: [templates],
    target: ['chrome123', 'firefox121', 'safari17.5'],
    write: false,
  });
  const of = (ending) => outputFiles.find((file) => file.path.endsWith(ending)).contents;
  // What is left after esbuild: branches and variables that are worth their bytes only
  // uncompressed.
  const { code } = await minify(Buffer.from(of('app.js')).toString(), {
    module: true,
    ecma: 2020,
    // Unsafe where a name of the language had another meaning here: none has.
    compress: { passes: 2 },
  });
  const libraries = Object.keys(metafile.inputs).map(
    (path) => /.*\bnode_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1],
  );
  return {
    script: code,
    style: of('style.css'),
    libraries: [...new Set(libraries)].filter(Boolean).sort(),
  };
}

function hashed(stem, ending, content) {
  const hash = createHash('sha256').update(content).digest('hex').slice(0, 10);
  return `${stem}.${hash}.${ending}`;
}

/** @param {string[]} libraries whose code the page holds */
async function licences(libraries) {
  /** Names and owners, by the text of their licence. @type {Map<string, string[]>} */
  const owners = new Map();
  for (const name of libraries) {
    const folder = join(here, 'node_modules', name);
    const { version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
    const text = await readFile(join(folder, 'LICENSE'), 'utf8');
    const owner = /^Copyright .*$/m.exec(text)?.[0];
    if (!owner) throw new Error(`${name}: the licence names no owner`);
    const rest = text
      .replace(owner, '')
      .replace(/\n{3,}/g, '\n\n')
      .trim();
    owners.set(rest, [...(owners.get(rest) ?? []), `${name} ${version} (${license})\n${owner}\n`]);
  }
  return `The page of Tally contains these libraries.\n\n${[...owners]
    .map(([text, names]) => `${names.join('\n')}\n${text}\n`)
    .join('\n')}`;
}

const { script, style, libraries } = await bundle();
const icon = await readFile(join(here, 'icon.svg'));
const names = {
  'app.js': hashed('app', 'js', script),
  'app.css': hashed('app', 'css', style),
  'icon.svg': hashed('icon', 'svg', icon),
};
let page = await readFile(join(here, 'index.html'), 'utf8');
for (const [name, hash] of Object.entries(names)) {
  if (!page.includes(`"${name}"`)) throw new Error(`index.html does not name ${name}`);
  page = page.replace(`"${name}"`, `"${hash}"`);
}

await rm(dist, { recursive: true, force: true });
await mkdir(dist);
await writeFile(join(dist, 'index.html'), page);
await writeFile(join(dist, names['app.js']), script);
await writeFile(join(dist, names['app.css']), style);
await writeFile(join(dist, names['icon.svg']), icon);
await writeFile(join(dist, LICENCES), await licences(libraries));
const sent = await embed(dist);
let all = 0;
for (const { name, bytes, sent: size } of sent) {
  if (name !== LICENCES) all += size;
  console.log(
    `${name.padEnd(24)} ${String(bytes).padStart(8)} bytes ${String(size).padStart(8)} sent`,
  );
}
console.log(
  `${'a first visit'.padEnd(24)} ${' '.repeat(14)} ${String(all).padStart(8)} of ${LIMIT}`,
);
if (all > LIMIT) {
  console.error('the page is too large: take something out, or use what is there');
  process.exitCode = 1;
}
