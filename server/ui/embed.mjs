// Makes dist/ what the program embeds: a compressed form beside each file, and files.rs, which
// lists them (its contract is in server/src/http/page.rs). Called by build.mjs with the folder. The
// compressor is a library and not Node's, so that every Node writes the same. Judges no content.

import zopfli from '@gfx/zopfli';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const KINDS = {
  css: 'text/css; charset=utf-8',
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
  txt: 'text/plain; charset=utf-8',
  woff2: 'font/woff2',
};

/** A name that is made from the content: `app.0123abcd.js`. */
const HASHED = /\.[0-9A-Za-z]{8,}\.[a-z0-9]+$/;

const LIST = 'files.rs';

/** The compressed form, or null where it is not shorter. */
async function packed(bytes) {
  const made = await zopfli.gzipAsync(bytes, { numiterations: 15 });
  return made.length < bytes.length ? made : null;
}

/**
 * Writes `*.gz` and `files.rs`; answers of each file its name, its bytes, and how many of them are
 * sent.
 */
export async function embed(folder) {
  const names = readdirSync(folder)
    .filter((name) => !name.endsWith('.gz') && name !== LIST)
    .sort();
  const entries = [];
  const sent = [];
  for (const name of names) {
    const kind = KINDS[name.split('.').pop()];
    if (!kind || !/^[A-Za-z0-9._-]+$/.test(name))
      throw new Error(`dist/${name} is of no kind that is served`);
    const path = join(folder, name);
    const bytes = readFileSync(path);
    const gzip = await packed(bytes);
    if (gzip) writeFileSync(`${path}.gz`, gzip);
    else rmSync(`${path}.gz`, { force: true });
    sent.push({ name, bytes: bytes.length, sent: (gzip ?? bytes).length });
    entries.push(`    PageFile {
        name: "${name}",
        kind: "${kind}",
        hashed: ${HASHED.test(name)},
        bytes: include_bytes!("${name}"),
        gzip: ${gzip ? `Some(include_bytes!("${name}.gz"))` : 'None'},
    },
`);
  }
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.gz'))) {
    if (!names.includes(name.slice(0, -3))) rmSync(join(folder, name));
  }
  writeFileSync(
    join(folder, LIST),
    `//! The files of the page. Written by server/ui/embed.mjs; do not edit.

use super::PageFile;

pub(super) const FILES: &[PageFile] = &[
${entries.join('')}];
`,
  );
  return sent;
}
