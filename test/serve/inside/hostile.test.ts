/** Archives that are not what they say, or made to hurt; and clients that ask for too much of them. */
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { formatNarInfo } from '../../../src/nix/nar-info.ts';
import { toRequest } from '../../../src/serve/node/listener.ts';
import { binaryCacheFiles, narFor } from '../../support/binary-cache.ts';
import { noise, turns } from '../../support/bytes.ts';
import { baseNameFor } from '../../support/cache-builder.ts';
import { addPath, startFakeUpstream } from '../../support/fake-upstream.ts';
import { nested } from '../../support/file-tree.ts';
import { narOf, tokens } from '../../support/nar.ts';
import { baseName, bodyOf, hashPart, setUpApp } from '../set-up.ts';
import { setUp } from '../upstream-set-up.ts';

const ROOT = `/nix/store/${baseName(1)}`;
const MIB = 1024 * 1024;
/** So many MiB that differ from those beside them. */
const large = (mebibytes: number, seed: number): Buffer => Buffer.alloc(mebibytes * MIB, noise(65_521, seed));

describe.each(['none', 'xz', 'zstd', 'gzip', 'br', 'bzip2', 'lz4', 'lzma'] as const)(
  'a NAR packed with %s',
  (compression) => {
    it.each([100, 1_500_000])('is looked into (%i bytes)', async (bytes) => {
      const far = await startFakeUpstream();
      for (const [name, file] of binaryCacheFiles([{ name: 'a', compression, bytes }])) far.files.set(`/${name}`, file);
      const { ask } = setUp([far]);
      const contents = noise(bytes, 'a');
      const path = `/nix/store/${baseNameFor('a')}`;
      const whole = await ask(path);
      expect([whole.status, Buffer.compare(await bodyOf(whole.body), contents)]).toEqual([200, 0]);
      const part = await ask(path, { Range: 'bytes=50-59' });
      expect([part.status, await bodyOf(part.body)]).toEqual([206, contents.subarray(50, 60)]);
      expect(narFor('a', bytes).includes(contents)).toBe(true);
    });
  },
);

describe('what is no such NAR', () => {
  const nar = narOf({
    entries: [
      ['a', { contents: large(5, 1) }],
      ['b', { contents: 'b' }],
    ],
  });

  /** An upstream whose narinfo says that `file` is `nar`. */
  async function setUpLiar(file: Buffer, compression: string) {
    const far = await startFakeUpstream();
    const said = addPath(far, { baseName: baseName(1), nar });
    const url = `nar/${'0'.repeat(52)}.nar`;
    const { fileHash: _, fileSize: __, ...info } = said;
    far.files.set(`/${hashPart(1)}.narinfo`, formatNarInfo({ ...info, url, compression }));
    far.files.set(`/${url}`, file);
    return setUp([far]);
  }

  const changed = Buffer.from(nar).fill(1, 5 * MIB, 5 * MIB + 1);
  it.each([
    ['another one', changed, 'none'],
    ['another one, packed', zstdCompressSync(changed), 'zstd'],
    ['cut short', nar.subarray(0, 1000), 'none'],
    ['cut short, packed', gzipSync(nar).subarray(0, 1000), 'gzip'],
    ['garbage', large(3, 2), 'zstd'],
    ['a bomb of zstd', zstdCompressSync(Buffer.alloc(300 * MIB)), 'zstd'],
    ['a bomb of brotli', brotliCompressSync(Buffer.alloc(100 * MIB)), 'br'],
    ['more than it says', Buffer.concat([nar, nar]), 'none'],
  ])('is not shown: %s', async (_what, file, compression) => {
    const { ask, events } = await setUpLiar(file, compression);
    for (const path of ['/a', '/b', '', '/none']) {
      const reply = await ask(ROOT + path);
      expect(reply.status).toBeGreaterThanOrEqual(404);
      expect(String(await bodyOf(reply.body)).length).toBeLessThan(50);
    }
    expect(events.length).toBeGreaterThan(0);
  });

  it.each([
    ['nested too deeply', narOf(nested(200, { contents: 'x' }))],
    ['with a name that is too long', narOf({ entries: [['n'.repeat(100_000), { contents: 'x' }]] })],
    ['with a name of two', narOf({ entries: [['a/b', { contents: 'x' }]] })],
    ['with a name that leads up', narOf({ entries: [['..', { contents: 'x' }]] })],
    [
      'with a file that is larger than can be',
      Buffer.concat([tokens('nix-archive-1', '(', 'type', 'regular', 'contents'), Buffer.alloc(8, 0xff)]),
    ],
  ])('is not shown: one that is %s', async (_what, nar) => {
    const { ask, reader } = setUpApp();
    reader.add({ baseName: baseName(1), nar });
    expect((await ask(ROOT)).status).toBe(502);
    reader.add({ baseName: baseName(2), nar: narOf({ contents: 'good' }) });
    expect((await ask(`/nix/store/${baseName(2)}`)).status).toBe(200);
  });

  it('is not shown by the listing that somebody else made of it either', async () => {
    const { ask, reader } = setUpApp();
    const lie = `{"version":1,"root":{"type":"directory","entries":{"a":{"type":"regular","size":9,"narOffset":0}}}}`;
    reader.add({ baseName: baseName(1), nar, listing: lie });
    const reply = await ask(`${ROOT}/a`);
    expect(Buffer.compare(await bodyOf(reply.body), large(5, 1))).toBe(0);
  });
});

describe('too many files', () => {
  const entries = Array.from({ length: 400 }, (_, at) => [`f${at}`, { contents: 'x' }] as const);
  const limits = { insideLimits: { nodes: 300 } };

  it('are told of, and counted once', async () => {
    const { ask, reader } = setUpApp(limits);
    reader.add({ baseName: baseName(1), nar: narOf({ entries }) });
    for (const path of ['/f1', '', '/f2']) expect((await ask(ROOT + path)).status).toBe(501);
    expect((await ask(`/${hashPart(1)}.ls`)).status).toBe(404);
    expect(reader.opened).toHaveLength(1);
  });

  it('are found by the listing that was published', async () => {
    const { ask, reader } = setUpApp(limits);
    const nar = narOf({ entries });
    const at = nar.indexOf('f1\0\0') + 8 * 12;
    const listing = `{"version":1,"root":{"type":"directory","entries":{"f1":{"type":"regular","size":1,"narOffset":${at}}}}}`;
    reader.add({ baseName: baseName(1), nar, listing });
    const reply = await ask(`${ROOT}/f1`);
    expect([reply.status, String(await bodyOf(reply.body))]).toEqual([200, 'x']);
  });
});

describe('too much at once', () => {
  const nar = narOf({ entries: [['a', { contents: large(5, 1) }]] });

  /** Paths whose NARs are opened only once `go` is called. */
  function setUpHeld(limits: Record<string, number>) {
    const app = setUpApp({ insideLimits: limits });
    const held = Promise.withResolvers<void>();
    app.reader.faults.openAfter = held.promise;
    for (const seed of [1, 2]) app.reader.add({ baseName: baseName(seed), nar: narOf({ contents: large(5, seed) }) });
    return { ...app, go: held.resolve };
  }

  it('is told to come again, and does no harm', async () => {
    const { ask, go } = setUpHeld({ surveys: 1, waitMs: 20 });
    const first = ask(ROOT);
    const second = await ask(`/nix/store/${baseName(2)}`);
    expect([second.status, second.headers.get('retry-after')]).toEqual([503, '5']);
    go();
    expect((await first).status).toBe(200);
    expect((await ask(`/nix/store/${baseName(2)}`)).status).toBe(200);
  });

  it('of time ends in an answer, and is not tried again soon', async () => {
    const { ask, reader, go } = setUpHeld({ surveyMs: 20 });
    reader.faults.stallAfter = 1000;
    go();
    expect((await ask(ROOT)).status).toBe(501);
    expect(reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
    expect((await ask(ROOT)).status).toBe(501);
    expect(reader.opened).toHaveLength(1);
    reader.faults.stallAfter = undefined as unknown as number;
    await ask('/_refresh', { method: 'POST' });
    expect((await ask(ROOT)).status).toBe(200);
  });

  it('of size is not begun', async () => {
    const { ask, reader } = setUpApp({ insideLimits: { narBytes: 1000 } });
    reader.add({ baseName: baseName(1), nar });
    expect((await ask(`${ROOT}/a`)).status).toBe(501);
    expect(reader.opened).toHaveLength(0);
  });

  it('ends when the client leaves', async () => {
    const { app, reader } = setUpApp();
    reader.add({ baseName: baseName(1), nar });
    reader.faults.stallAfter = 1000;
    const leaving = new AbortController();
    const asked = app.fetch(toRequest({ method: 'GET', url: `${ROOT}/a`, rawHeaders: [] }, leaving.signal));
    while (reader.opened.length === 0) await turns(1);
    leaving.abort();
    await asked;
    await expect.poll(() => reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
  });

  it('of a file is not read when the client leaves in the middle', async () => {
    const { app, ask, reader } = setUpApp({ insideLimits: { readers: 1 } });
    reader.add({
      baseName: baseName(1),
      nar: narOf({ entries: [['a', { contents: large(20, 1) }]] }),
      compression: 'zstd',
    });
    for (let i = 0; i < 3; i++) {
      const response = await app.fetch(toRequest({ method: 'GET', url: `${ROOT}/a`, rawHeaders: [] }));
      await response.body?.cancel();
    }
    await expect.poll(() => reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
    const part = await ask(`${ROOT}/a`, { Range: 'bytes=0-9' });
    expect(await bodyOf(part.body)).toEqual(large(20, 1).subarray(0, 10));
  });
});

it('a narinfo of another store is none of ours', async () => {
  const far = await startFakeUpstream();
  addPath(far, { baseName: baseName(1), nar: narOf({ contents: 'x' }), storeDir: '/gnu/store' });
  const { ask } = setUp([far]);
  for (const storeDir of ['/gnu/store', '/nix/store']) {
    expect((await ask(`${storeDir}/${baseName(1)}`)).status).toBe(404);
  }
});
