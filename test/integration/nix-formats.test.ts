/** Our formats against the Nix that is installed: `apt-get install nix-bin`. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { messageOf } from '../../src/errors.ts';
import { parseNarListing } from '../../src/nar/nar-listing.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { NarWriter } from '../../src/nar/nar-writer.ts';
import { hashFromHex, hashToBase32, parseHash } from '../../src/nix/hash.ts';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import { generateKey, parseSecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { type FileTree, GOLDEN_TREES, nested, plantTree } from '../support/file-tree.ts';
import { narOf, tokens } from '../support/nar.ts';
import { fileTree } from '../support/nix-arbitraries.ts';
import { createNixEnv, type NixEnv } from '../support/nix-env.ts';

let nix: NixEnv;
let trees: string;
let count = 0;

beforeAll(async () => {
  nix = await createNixEnv();
  trees = join(nix.dir, 'trees');
  mkdirSync(trees);
  const { failed } = await execa('nix-store', ['--version'], { reject: false });
  if (failed) throw new Error('these tests need Nix: apt-get install nix-bin');
});
afterAll(() => nix.cleanup());

/** Runs a program of Nix in the private store. */
const run = (file: string, ...args: readonly string[]) =>
  execa(file, args, { env: nix.env, extendEnv: false, encoding: 'buffer', timeout: 60_000 });

function plant(tree: FileTree): string {
  const path = join(trees, `tree-${count++}`);
  plantTree(path, tree);
  return path;
}

const dump = (path: string): Buffer => Buffer.concat(Array.from(new NarWriter(path), (chunk) => Buffer.from(chunk)));
const dumpByNix = async (path: string): Promise<Buffer> => Buffer.from((await run('nix-store', '--dump', path)).stdout);

describe('NarWriter and nix-store --dump agree on', () => {
  const modes = [0o400, 0o444, 0o500, 0o555, 0o655, 0o677, 0o700, 0o755, 0o4755].map(
    (mode) => [mode.toString(8).padStart(3, '0'), { contents: 'x', mode }] as const,
  );
  const sizes = [0, 1, 7, 8, 9, 4095, 65_536, 262_143, 262_144, 1_048_577, 5_000_000].map(
    (size) => [`${size}`, { contents: randomBytes(size) }] as const,
  );
  const cases: Readonly<Record<string, FileTree>> = {
    ...GOLDEN_TREES,
    modes: { entries: modes },
    sizes: { entries: sizes },
    'a tree 63 levels deep': nested(63, { contents: 'x' }),
    'many files': { entries: Array.from({ length: 1000 }, (_, at) => [`f${at}`, { contents: `${at}` }] as const) },
    'long names and targets': { entries: [['n'.repeat(255), { target: 't'.repeat(4095) }]] },
  };

  it.each(Object.entries(cases))('%s', async (_name, tree) => {
    const path = plant(tree);
    expect(dump(path).equals(await dumpByNix(path))).toBe(true);
  });

  // Nix since 2.35 refuses to dump this as well.
  it('a tree 200 levels deep, where Nix dumps it at all', async () => {
    const path = plant(nested(200, { contents: 'x' }));
    const { failed, stdout } = await execa('nix-store', ['--dump', path], {
      env: nix.env,
      encoding: 'buffer',
      reject: false,
    });
    expect(failed || dump(path).equals(Buffer.from(stdout))).toBe(true);
  });

  it('files that nobody made for this test', async () => {
    const path = fileURLToPath(new URL('../../node_modules/zod', import.meta.url));
    expect(dump(path).equals(await dumpByNix(path))).toBe(true);
  });

  test('arbitrary trees', async () => {
    await fc.assert(
      fc.asyncProperty(fileTree(), async (tree) => {
        const path = plant(tree);
        expect(dump(path).equals(await dumpByNix(path))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });
});

describe('what nix-store --restore refuses, the NAR reader refuses', () => {
  it.each([
    ['a cut', narOf({ contents: 'dep\n' }).subarray(0, 100)],
    ['an unknown type', tokens('nix-archive-1', '(', 'type', 'socket', ')')],
    ['the name ..', narOf({ entries: [['..', { contents: 'x' }]] })],
    ['a slash in a name', narOf({ entries: [['a/b', { contents: 'x' }]] })],
    ['padding', Buffer.from(narOf({ contents: 'x' }).map((byte, at) => (at === 111 ? 1 : byte)))],
  ])('%s', async (_what, nar) => {
    const target = join(trees, `restored-${count++}`);
    const { failed } = await execa('nix-store', ['--restore', target], { env: nix.env, input: nar, reject: false });
    expect(failed).toBe(true);
    await expect(
      verifyNar(
        (async function* () {
          yield nar;
        })(),
      ),
    ).rejects.toMatchObject({ code: 'ERR_FORMAT' });
  });
});

test('the listing of a tree is the one that nix copy writes', async () => {
  const tree: FileTree = {
    entries: [
      ['empty', { contents: '' }],
      ['run', { contents: '#!/bin/sh\n', mode: 0o755 }],
      [
        'sub',
        {
          entries: [
            ['é "\\\n\u2028', { contents: 'x' }],
            ['link', { target: '../run' }],
            ['none', { entries: [] }],
          ],
        },
      ],
    ],
  };
  const path = plant(tree);
  const { stdout } = await run('nix-store', '--add', path);
  const cache = join(nix.dir, `cache-${count++}`);
  await run(
    'nix',
    'copy',
    '--to',
    `file://${cache}?compression=none&write-nar-listing=1`,
    Buffer.from(stdout).toString().trim(),
  );
  const name = (await readdir(cache)).find((file) => file.endsWith('.ls')) ?? '';
  const writer = new NarWriter(path, { withListing: true });
  for (const _chunk of writer);
  expect(writer.listing).toEqual(parseNarListing(await readFile(join(cache, name), 'utf8')));
});

test('the signature of a path is the one that nix store sign makes', async () => {
  const { secret } = generateKey('formats.example.org-1');
  writeFileSync(join(nix.dir, 'secret'), secret);
  const added = Buffer.from((await run('nix-store', '--add', plant({ contents: 'signed\n' }))).stdout)
    .toString()
    .trim();
  await run('nix', 'store', 'sign', '--key-file', join(nix.dir, 'secret'), added);
  const cache = join(nix.dir, `cache-${count++}`);
  await run('nix', 'copy', '--to', `file://${cache}?compression=none`, added);
  const name = (await readdir(cache)).find((file) => file.endsWith('.narinfo')) ?? '';
  const info = parseNarInfo(await readFile(join(cache, name), 'utf8'));
  expect(info.sigs).toEqual([signPathInfo(info, parseSecretKey(secret))]);
});

test('hashes are converted as by nix-hash', async () => {
  for (let i = 0; i < 5; i++) {
    const hex = randomBytes(32).toString('hex');
    const { stdout } = await run('nix-hash', '--type', 'sha256', '--to-base32', hex);
    expect(hashToBase32(hashFromHex(hex))).toBe(Buffer.from(stdout).toString().trim());
    expect(parseHash(`sha256:${hex}`)).toBe(hashFromHex(hex));
  }
});

describe('parseNarInfo takes what Nix takes of a narinfo with', () => {
  const STORE_PATH = '/nix/store/fn42p608y1md50nm82skca4xj5s8i1d7-t';
  const LEAST = `StorePath: ${STORE_PATH}\nURL: nar/x.nar\nCompression: none\nNarHash: sha256:12v6zh3wbd3rrw368z94j3p8l060rhj7wxcg1x9hiwilvf1zrc1p\nNarSize: 288\n`;
  const OTHER = 'an42p608y1md50nm82skca4xj5s8i1d7-a';

  it.each([
    ['the least', LEAST],
    ['no final newline', LEAST.trimEnd()],
    ['a blank line', `${LEAST}\n`],
    ['a line without a colon', `${LEAST}junk\n`],
    ['carriage returns', LEAST.replaceAll('\n', '\r\n')],
    ['an unknown field', `${LEAST}Foo: bar\n`],
    ['an empty CA', `${LEAST}CA: \n`],
    ['no value behind a colon', `${LEAST}CA:\n`],
    ['a malformed CA', `${LEAST}CA: junk\n`],
    [
      'a CA in hexadecimal',
      `${LEAST}CA: fixed:r:sha256:37b0fc83db34f208530f8f757e24ccc0008aee90247d6406cf79b4c507fc668b\n`,
    ],
    ['a CA in base-64', `${LEAST}CA: fixed:r:sha256:N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=\n`],
    ['a CA in SRI form', `${LEAST}CA: fixed:r:sha256-N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=\n`],
    ['a text CA of sha1', `${LEAST}CA: text:sha1:a9993e364706816aba3e25717850c26c9cd0d89d\n`],
    ['unsorted references', `${LEAST}References: ${OTHER}-b ${OTHER}\n`],
    ['references twice', `${LEAST}References: ${OTHER}\nReferences: \n`],
    ['an absolute reference', `${LEAST}References: /nix/store/${OTHER}\n`],
    ['an empty deriver', `${LEAST}Deriver: \n`],
    ['an unknown deriver', `${LEAST}Deriver: unknown-deriver\n`],
    ['a NarSize of 0', LEAST.replace('288', '0')],
    ['leading zeros', LEAST.replace('288', '000288')],
    ['a blank before the size', LEAST.replace('288', ' 288')],
    ['a FileSize below 0', `${LEAST}FileSize: -1\n`],
    ['a hash in SRI form', LEAST.replace(/sha256:.*/, 'sha256-N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos=')],
    ['a hash without padding', LEAST.replace(/sha256:.*/, 'sha256-N7D8g9s08ghTD491fiTMwACK7pAkfWQGz3m0xQf8Zos')],
    ['a hash without algorithm', LEAST.replace('sha256:', '')],
    ['bits past the end of its hash', LEAST.replace('sha256:1', 'sha256:z')],
    ['no URL', LEAST.replace(/URL.*\n/, '')],
    ['an empty compression', LEAST.replace('none', '')],
  ])('%s', async (_what, text) => {
    const cache = join(nix.dir, `cache-${count++}`);
    mkdirSync(cache);
    writeFileSync(join(cache, 'nix-cache-info'), 'StoreDir: /nix/store\n');
    writeFileSync(join(cache, 'fn42p608y1md50nm82skca4xj5s8i1d7.narinfo'), text);
    const asked = await execa('nix', ['path-info', '--store', `file://${cache}`, STORE_PATH], {
      env: nix.env,
      reject: false,
    });
    expect(outcome(text), asked.stderr).toBe(asked.failed ? 'refused' : 'taken');
  });

  function outcome(text: string): string {
    try {
      parseNarInfo(text);
      return 'taken';
    } catch (error) {
      expect(error, messageOf(error)).toMatchObject({ code: 'ERR_FORMAT' });
      return 'refused';
    }
  }
});
