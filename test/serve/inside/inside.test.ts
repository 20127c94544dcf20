/** Files and directories inside of NARs, as clients ask for them. */
import { describe, expect, it } from 'vitest';
import { noise } from '../../support/bytes.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import type { FileTree } from '../../support/file-tree.ts';
import { narOf } from '../../support/nar.ts';
import { baseName, bodyOf, hashPart, headerOf, setUpApp } from '../set-up.ts';
import { setUp } from '../upstream-set-up.ts';

const OTHER = baseName(2);
const SCRIPT = '#!/bin/sh\necho hello\n';
const LARGE = Buffer.alloc(9_000_000, noise(65_521, 3));
const TREE = {
  entries: [
    ['absolute', { target: `/nix/store/${baseName(1)}/bin` }],
    [
      'bin',
      {
        entries: [
          ['hello', { contents: SCRIPT, mode: 0o755 }],
          ['hi', { target: 'hello' }],
        ],
      },
    ],
    ['circle', { target: 'circle' }],
    ['dangling', { target: 'nowhere' }],
    ['empty', { contents: '' }],
    ['index.html', { contents: '<script>alert(1)</script>' }],
    ['library', { target: `/nix/store/${OTHER}/lib/../lib` }],
    ['name with\\odd\n<b>"&', { contents: 'odd' }],
    ['outside', { target: '/etc/passwd' }],
    ['picture.PNG', { contents: 'x' }],
    ['sbin', { target: './bin' }],
    [
      'share',
      {
        entries: [
          ['up', { target: '../bin' }],
          ['neighbour', { target: `../../${OTHER}/x` }],
          ['far', { target: '../../../etc' }],
        ],
      },
    ],
    ['\udcff', { contents: 'not UTF-8' }],
  ],
} satisfies FileTree;
const ROOT = `/nix/store/${baseName(1)}`;
const textOf = async (reply: { readonly body: Buffer | ReadableStream<Uint8Array> }): Promise<string> =>
  String(await bodyOf(reply.body));

/** The app over a cache that has `tree`, small or in a NAR too large to be kept in memory. */
function setUpTree(compression: 'none' | 'zstd' = 'zstd', isLarge = false) {
  const app = setUpApp();
  const tree: FileTree = isLarge ? { entries: [...TREE.entries, ['large', { contents: LARGE }]] } : TREE;
  app.reader.add({ baseName: baseName(1), nar: narOf(tree), compression });
  return app;
}

describe.each([
  ['none', false],
  ['zstd', false],
  ['none', true],
  ['zstd', true],
] as const)('a file of a NAR that is packed with %s (large: %s)', (compression, isLarge) => {
  it('is sent with all that is known of it', async () => {
    const { ask, events } = setUpTree(compression, isLarge);
    const reply = await ask(`${ROOT}/bin/hello`);
    expect([reply.status, await textOf(reply)]).toEqual([200, SCRIPT]);
    expect(headerOf(reply, 'nar-executable')).toBe('1');
    expect(headerOf(reply, 'content-length')).toBe(String(SCRIPT.length));
    expect(headerOf(reply, 'content-type')).toBe('text/plain; charset=utf-8');
    expect(headerOf(reply, 'accept-ranges')).toBe('bytes');
    expect(headerOf(reply, 'cache-control')).toBe('public, max-age=31536000, immutable');
    expect(headerOf(reply, 'x-content-type-options')).toBe('nosniff');
    expect(headerOf(reply, 'content-security-policy')).toMatch(/(?:^|; )sandbox$/);
    const etag = headerOf(reply, 'etag') ?? '';
    expect(etag).toMatch(/^"[^"]+"$/);
    const head = await ask(`${ROOT}/bin/hello`, { method: 'HEAD' });
    expect([head.status, headerOf(head, 'content-length'), headerOf(head, 'etag')]).toEqual([200, '21', etag]);
    expect(await textOf(head)).toBe('');
    const again = await ask(`${ROOT}/bin/hello`, { 'If-None-Match': etag });
    expect([again.status, headerOf(again, 'etag')]).toEqual([304, etag]);
    expect(events).toEqual([]);
  });

  it('is sent in parts', async () => {
    const { ask } = setUpTree(compression, isLarge);
    const path = `${ROOT}/bin/hello`;
    const part = await ask(path, { Range: 'bytes=2-8' });
    expect([part.status, await textOf(part)]).toEqual([206, SCRIPT.slice(2, 9)]);
    expect(headerOf(part, 'content-range')).toBe('bytes 2-8/21');
    const end = await ask(path, { Range: 'bytes=-5' });
    expect(await textOf(end)).toBe(SCRIPT.slice(-5));
    const beyond = await ask(path, { Range: 'bytes=21-' });
    expect([beyond.status, headerOf(beyond, 'content-range')]).toEqual([416, 'bytes */21']);
    const other = await ask(path, { Range: 'bytes=2-8', 'If-Range': '"other"' });
    expect([other.status, await textOf(other)]).toEqual([200, SCRIPT]);
    const same = await ask(path, { Range: 'bytes=2-8', 'If-Range': headerOf(part, 'etag') ?? '' });
    expect(same.status).toBe(206);
  });
});

it.each(['none', 'zstd'] as const)(
  'a large file, packed with %s, is whole, and so is any part of it',
  async (compression) => {
    const { ask, reader } = setUpTree(compression, true);
    const whole = await ask(`${ROOT}/large`);
    expect(Buffer.compare(await bodyOf(whole.body), LARGE)).toBe(0);
    const part = await ask(`${ROOT}/large`, { Range: 'bytes=4000000-4999999' });
    expect(Buffer.compare(await bodyOf(part.body), LARGE.subarray(4_000_000, 5_000_000))).toBe(0);
    expect(reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
  },
);

it.each([
  ['/bin/hello', 'text/plain; charset=utf-8'],
  ['/index.html', 'text/html; charset=utf-8'],
  ['/picture.PNG', 'image/png'],
  ['/empty', 'text/plain; charset=utf-8'],
  ['/name%20with%5Codd%0A%3Cb%3E%22&', 'text/plain; charset=utf-8'],
  ['/%FF', 'text/plain; charset=utf-8'],
])('%s is of the type %s', async (path, type) => {
  const reply = await setUpTree().ask(ROOT + path);
  expect([reply.status, headerOf(reply, 'content-type')]).toEqual([200, type]);
});

describe('a path', () => {
  it('is found by its hash alone, and not under another name', async () => {
    const { ask } = setUpTree();
    expect((await ask(`/nix/store/${hashPart(1)}/bin/hello`)).status).toBe(200);
    const other = await ask(`/nix/store/${hashPart(1)}-other/bin/hello`);
    expect([other.status, await textOf(other)]).toEqual([404, expect.stringContaining('package-1')]);
  });

  it.each([
    `/nix/store/${hashPart(9)}`,
    `${ROOT}/bin/nope`,
    `${ROOT}/bin/hello/x`,
    `${ROOT}/bin/hello/`,
    `${ROOT}//bin`,
    `${ROOT}/bin/..%2fhello`,
    `${ROOT}/bin%2fhello%00`,
    `${ROOT}/constructor`,
    `${ROOT}/__proto__`,
    '/nix/store/',
    '/nix/store',
    `/nix/store/${hashPart(1)}-`,
    `/nix/store/${hashPart(1)}x`,
    `/gnu/store/${baseName(1)}/bin/hello`,
  ])('%s is not there', async (path) => {
    expect((await setUpTree().ask(path)).status).toBe(404);
  });

  it('may be one file', async () => {
    const { ask, reader } = setUpApp();
    reader.add({ baseName: baseName(1, 'page.json'), nar: narOf({ contents: '{}' }) });
    const reply = await ask(`/nix/store/${baseName(1, 'page.json')}`);
    expect([reply.status, headerOf(reply, 'content-type'), await textOf(reply)]).toEqual([
      200,
      'application/json',
      '{}',
    ]);
  });

  it('takes nothing but GET and HEAD', async () => {
    const reply = await setUpTree().ask(`${ROOT}/bin/hello`, { method: 'DELETE' });
    expect([reply.status, headerOf(reply, 'allow')]).toEqual([405, 'GET, HEAD']);
  });
});

describe('a symbolic link', () => {
  it.each([
    ['bin/hi', `../../${baseName(1)}/bin/hello`],
    ['sbin', `../${baseName(1)}/bin`],
    ['sbin/', `../../${baseName(1)}/bin/`],
    ['sbin/hi', `../../${baseName(1)}/bin/hello`],
    ['share/up/hello', `../../../${baseName(1)}/bin/hello`],
    ['absolute/hello', `../../${baseName(1)}/bin/hello`],
    ['library', `../${OTHER}/lib`],
    ['library/x/y', `../../../${OTHER}/lib/x/y`],
    ['share/neighbour', `../../${OTHER}/x`],
  ])('%s leads to %s', async (path, location) => {
    const reply = await setUpTree().ask(`${ROOT}/${path}`);
    expect([reply.status, headerOf(reply, 'location')]).toEqual([302, location]);
  });

  it.each([
    ['outside', 200, '/etc/passwd'],
    ['outside/x', 404, '/etc/passwd'],
    ['share/far', 200, '../../../etc'],
    ['dangling', 404, 'Not Found'],
    ['circle', 404, 'links'],
    ['circle/x', 404, 'links'],
  ])('%s is not followed: %i', async (path, status, text) => {
    const reply = await setUpTree().ask(`${ROOT}/${path}`);
    expect([reply.status, await textOf(reply)]).toEqual([status, expect.stringContaining(text)]);
    expect(headerOf(reply, 'location')).toBeUndefined();
  });

  it('may be the path itself', async () => {
    const { ask, reader } = setUpApp();
    reader.add({ baseName: baseName(1), nar: narOf({ target: `${OTHER}/x` }) });
    const reply = await ask(`${ROOT}/y`);
    expect([reply.status, headerOf(reply, 'location')]).toEqual([302, `../${OTHER}/x/y`]);
  });
});

describe('a directory', () => {
  it.each(['', '/'])('is a page of links that hold wherever it is (%s)', async (slash) => {
    const reply = await setUpTree().ask(ROOT + slash);
    expect(reply.status).toBe(200);
    expect(headerOf(reply, 'content-type')).toBe('text/html; charset=utf-8');
    expect(headerOf(reply, 'content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-/);
    const html = await textOf(reply);
    const links = [...html.matchAll(/href="([^"]*)"/g)].map(
      ([, href = '']) => new URL(href, `http://x/pre${ROOT}${slash}`).pathname,
    );
    expect(links).toContain(`/pre${ROOT}/bin/`);
    expect(links).toContain(`/pre/path/${hashPart(1)}`);
    expect(links).toContain('/pre/');
    expect(links).toContain(`/pre${ROOT}/name%20with%5Codd%0A%3Cb%3E%22%26`);
    expect(links).toContain(`/pre${ROOT}/%FF`);
    expect(html).not.toContain('<b>');
    const again = await setUpTree().ask(ROOT + slash, { 'If-None-Match': headerOf(reply, 'etag') ?? '' });
    expect(again.status).toBe(304);
  });

  it('is JSON for programs', async () => {
    const reply = await setUpTree().ask(`${ROOT}/bin`, { Accept: 'application/json' });
    expect(headerOf(reply, 'content-type')).toBe('application/json');
    expect(JSON.parse(await textOf(reply))).toEqual({
      path: `${ROOT}/bin`,
      type: 'directory',
      entries: { hello: { type: 'regular', size: 21, executable: true }, hi: { type: 'symlink', target: 'hello' } },
    });
  });
});

it('is read whole once for all who ask', async () => {
  const { ask, reader } = setUpTree('zstd');
  await Promise.all(['/bin/hello', '/empty', '/', '/bin/hi'].map((path) => ask(ROOT + path)));
  await ask(`${ROOT}/index.html`);
  expect(reader.opened).toHaveLength(1);
});

it('comes from an upstream as well, with a listing or without', async () => {
  const far = await startFakeUpstream();
  addPath(far, { baseName: baseName(1), nar: narOf(TREE) });
  const { ask } = setUp([far]);
  expect(await textOf(await ask(`${ROOT}/bin/hello`))).toBe(SCRIPT);
});

it('names command no terminal that shows them as JSON', async () => {
  const { ask, reader } = setUpApp();
  const name = 'a\u001b[1m\u009b\u202e\u{e0001}b';
  reader.add({ baseName: baseName(1), nar: narOf({ entries: [[name, { contents: '' }]] }) });
  const json = await textOf(await ask(ROOT, { Accept: 'application/json' }));
  expect(json).toContain('"a\\u001b[1m\\u009b\\u202e\\udb40\\udc01b"');
  expect(Object.keys(JSON.parse(json).entries)).toEqual([name]);
});

it('is below the store directory that the cache is for', async () => {
  const far = await startFakeUpstream();
  far.files.set('/nix-cache-info', 'StoreDir: /other/nix/store\n');
  const tree: FileTree = {
    entries: [
      ['file', { contents: 'there' }],
      ['link', { target: `/other/nix/store/${baseName(1)}/file` }],
    ],
  };
  addPath(far, { baseName: baseName(1), nar: narOf(tree), storeDir: '/other/nix/store' });
  const { ask } = setUp([far]);
  await ask('/nix-cache-info');
  const root = `/other/nix/store/${baseName(1)}`;
  expect(await textOf(await ask(`${root}/file`))).toBe('there');
  expect(headerOf(await ask(`${root}/link`), 'location')).toBe(`../${baseName(1)}/file`);
  expect(await textOf(await ask(root))).toContain('href="../../../path/');
  expect((await ask(`${ROOT}/file`)).status).toBe(404);
});
