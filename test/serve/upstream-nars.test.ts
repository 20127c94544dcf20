/** What an upstream says beside what is signed: no client gets anything wrong for it, and no other path suffers. */
import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HttpClient } from '../../src/http/node/client.ts';
import { hashFromBytes, hashToBase32, type NixHash } from '../../src/nix/hash.ts';
import { formatNarInfo, type NarInfo, parseNarInfo } from '../../src/nix/nar-info.ts';
import { PROMPT } from '../../src/upstream/patience.ts';
import { Upstream } from '../../src/upstream/upstream.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, bodyOf, hashPart, headerOf, setUpApp } from './set-up.ts';

function setUp(...fars: readonly FakeUpstream[]) {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const upstreams = fars.map(
    ({ url }) => new Upstream({ ...parseUpstream(url), timeoutMs: 10_000 }, { http, patience: PROMPT }),
  );
  const app = setUpApp({ upstreams, headStartMs: 1000 });
  const infoOf = async (seed: number): Promise<NarInfo | undefined> => {
    const { status, body } = await app.ask(`/${hashPart(seed)}.narinfo`);
    return status === 200 ? parseNarInfo(String(body)) : undefined;
  };
  /** What a client gets of the NAR, undefined for a miss, an error for what was cut. */
  const get = async (url: string | undefined, headers: Record<string, string> = {}): Promise<Buffer | undefined> => {
    const { status, body } = await app.ask(`/${url}`, headers);
    return status === 200 || status === 206 ? await bodyOf(body) : undefined;
  };
  return { ...app, infoOf, get };
}

const sha256 = (bytes: Uint8Array): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

/** Changes what `far` says of the path. */
function say(far: FakeUpstream, seed: number, fields: Partial<NarInfo> | ((info: NarInfo) => NarInfo)): NarInfo {
  const key = `/${hashPart(seed)}.narinfo`;
  const info = parseNarInfo(String(far.files.get(key)));
  const said = typeof fields === 'function' ? fields(info) : { ...info, ...fields };
  far.files.set(key, formatNarInfo(said));
  return said;
}

/** A path whose NAR is compressed; `terse` without FileHash and FileSize. */
function addPacked(
  far: FakeUpstream,
  seed: number,
  nar: Buffer,
  options: { terse?: boolean; url?: string } = {},
): NarInfo {
  addPath(far, { baseName: baseName(seed), nar });
  const packed = zstdCompressSync(nar);
  const fileHash = sha256(packed);
  const url = options.url ?? `nar/${hashToBase32(fileHash)}.nar.zst`;
  far.files.set(`/${url}`, packed);
  return say(far, seed, ({ fileHash: _hash, fileSize: _size, ...info }) => ({
    ...{ ...info, url, compression: 'zstd' },
    ...(options.terse ? {} : { fileHash, fileSize: packed.length }),
  }));
}

const SMALL = noise(100_000, 'small');
const LARGE = noise(3_000_000, 'large');
const OTHER = noise(100_000, 'other');

describe('a NAR that is not compressed', () => {
  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('and comes without a length is never half: %s', async (_size, nar) => {
    const far = await startFakeUpstream();
    addPath(far, { baseName: baseName(1), nar, terse: true, url: 'x.nar' });
    far.faults.noLength = true;
    const { infoOf, get, ask } = setUp(far);
    const url = (await infoOf(1))?.url;
    expect((await get(url))?.equals(nar)).toBe(true);
    expect(headerOf(await ask(`/${url}`, { method: 'HEAD' }), 'content-length')).toBe(String(nar.length));
    far.files.set('/x.nar', nar.subarray(0, nar.length / 2)); // ends as if it were whole
    expect(await get(url).catch(() => undefined)).toBeUndefined();
    expect(headerOf(await ask(`/${url}`), 'cache-control')).not.toContain('immutable');
  });

  it.each([
    ['FileHash', { fileHash: sha256(OTHER) }],
    ['FileSize', { fileSize: 5 }],
  ])('and has another %s is taken, for it is the NAR itself', async (_field, fields) => {
    const [evil, good] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const far of [evil, good]) addPath(far, { baseName: baseName(1), nar: SMALL });
    say(evil, 1, fields);
    const { infoOf, get, events } = setUp(evil, good);
    expect(await get((await infoOf(1))?.url)).toEqual(SMALL);
    expect(events).toEqual([]);
  });
});

describe('a compressed NAR without a file hash', () => {
  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('is right when it unpacks to what is signed: %s', async (size, nar) => {
    const far = await startFakeUpstream();
    addPacked(far, 1, nar, { terse: true });
    const first = setUp(far);
    const url = (await first.infoOf(1))?.url;
    for (const { get } of [first, setUp(far)]) {
      expect((await get(url))?.equals(zstdCompressSync(nar))).toBe(true);
      const part = await get(url, { Range: 'bytes=1000-1999' });
      expect(part?.equals(zstdCompressSync(nar).subarray(1000, 2000))).toBe(true);
    }
    const theirs = [...far.files.keys()].find((path) => path.endsWith('.zst')) ?? '';
    far.files.set(theirs, zstdCompressSync(size === 'small' ? OTHER : noise(3_000_000, 'x')));
    for (const { get } of [first, setUp(far)]) {
      expect(await get(url).catch(() => undefined)).toBeUndefined();
      expect(await get(url, { Range: 'bytes=1000-1999' }).catch(() => undefined)).toBeUndefined();
    }
  });

  it('is refused when nobody here can unpack it', async () => {
    const far = await startFakeUpstream();
    addPacked(far, 1, SMALL, { terse: true });
    say(far, 1, { compression: 'lrzip' });
    const { infoOf, events } = setUp(far);
    expect(await infoOf(1)).toBeUndefined();
    expect(events).toMatchObject([{ type: 'refused', reason: expect.stringContaining('FileHash') }]);
  });

  it('is cut when it goes on, with nothing in it, for longer than it can be', async () => {
    const far = await startFakeUpstream();
    addPacked(far, 1, SMALL, { terse: true });
    far.faults.noLength = true;
    const theirs = [...far.files.keys()].find((path) => path.endsWith('.zst')) ?? '';
    const packed = zstdCompressSync(SMALL);
    // Frames that are skipped: the whole still unpacks to the very NAR.
    const skipped = Buffer.alloc(8 + 50_000);
    skipped.writeUInt32LE(0x184d2a50);
    skipped.writeUInt32LE(50_000, 4);
    const within = Buffer.concat([packed, skipped]);
    far.files.set(theirs, within);
    const { infoOf, get } = setUp(far);
    const url = (await infoOf(1))?.url;
    expect((await get(url))?.equals(within)).toBe(true);
    far.files.set(theirs, Buffer.concat([packed, ...Array<Buffer>(40).fill(skipped)]));
    const again = setUp(far);
    expect(await again.get((await again.infoOf(1))?.url).catch(() => undefined)).toBeUndefined();
  });

  it('is cut when it is a bomb', async () => {
    const far = await startFakeUpstream();
    addPacked(far, 1, SMALL, { terse: true, url: 'x.nar.gz' });
    say(far, 1, { compression: 'gzip' });
    far.files.set('/x.nar.gz', gzipSync(Buffer.alloc(300_000_000)));
    const { infoOf, get } = setUp(far);
    expect(await get((await infoOf(1))?.url).catch(() => undefined)).toBeUndefined();
  });
});

describe('a signed narinfo that is replayed with the URL of another path', () => {
  it.each([
    ['with its file hash', {}],
    ['with its file hash and another size', { fileSize: 5 }],
    ['with a file hash of its own', { fileHash: sha256(SMALL), fileSize: SMALL.length }],
  ])('does not touch that path, and comes from the next upstream after once: %s', async (_what, lies) => {
    for (const victimFirst of [true, false]) {
      const [evil, good] = [await startFakeUpstream(), await startFakeUpstream()];
      const replayed = addPacked(good, 1, SMALL);
      const victim = addPacked(good, 2, OTHER);
      addPacked(evil, 1, SMALL);
      say(evil, 1, {
        url: victim.url,
        fileHash: victim.fileHash as NixHash,
        fileSize: victim.fileSize as number,
        ...lies,
      });
      const { infoOf, get } = setUp(evil, good);
      const getVictim = async (): Promise<void> => {
        expect(await get((await infoOf(2))?.url)).toEqual(zstdCompressSync(OTHER));
      };
      if (victimFirst) await getVictim();
      const mended = await get((await infoOf(1))?.url);
      expect(mended && zstdDecompressSync(mended).equals(SMALL)).toBe(true);
      await getVictim();
      const info = await infoOf(1);
      expect(info?.narHash).toBe(replayed.narHash);
      expect(await get(info?.url)).toEqual(zstdCompressSync(SMALL));
      await getVictim();
    }
  });

  it('does not make its upstream lose what it has right', async () => {
    const [evil, good] = [await startFakeUpstream(), await startFakeUpstream()];
    const victim = addPacked(good, 2, OTHER);
    addPacked(evil, 1, SMALL);
    const { url } = say(evil, 1, { url: victim.url, fileHash: victim.fileHash as NixHash });
    addPacked(evil, 3, LARGE.subarray(0, 1000));
    const { infoOf, get } = setUp(evil, good);
    await get((await infoOf(1))?.url).catch(() => undefined);
    expect(url).toBe(victim.url);
    expect(await get((await infoOf(3))?.url)).toEqual(zstdCompressSync(LARGE.subarray(0, 1000)));
  });
});

describe('an xz NAR that has its FileHash', () => {
  const pack = (far: FakeUpstream, nar: Buffer): { packed: Buffer; url: string } => {
    const packed = Buffer.from(xz.compressSync(nar));
    const url = `nar/${hashToBase32(sha256(packed))}.nar.xz`;
    far.files.set(`/${url}`, packed);
    say(far, 1, { url, compression: 'xz', fileHash: sha256(packed), fileSize: packed.length });
    return { packed, url };
  };

  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('and does not unpack to what is signed is not whole, and makes way for another: %s', async (_size, nar) => {
    const [evil, good] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const far of [evil, good]) addPath(far, { baseName: baseName(1), nar });
    const poison = pack(evil, Buffer.concat([nar.subarray(1), Buffer.from('x')]));
    const { packed, url } = pack(good, nar);
    const { infoOf, get } = setUp(evil, good);
    expect((await infoOf(1))?.url).toBe(poison.url);
    for (const headers of [{ Range: 'bytes=0-9' }, {}]) {
      const mended = await get(poison.url, headers);
      expect(mended && Buffer.from(xz.decompressSync(mended)).equals(nar)).toBe(true);
    }
    expect((await infoOf(1))?.url).toBe(url);
    for (let i = 0; i < 2; i++) expect((await get(url))?.equals(packed)).toBe(true);
  });
});

describe('after a restart', () => {
  it.each([
    ['small', SMALL],
    ['large', LARGE],
  ])('a NAR named by its hash is that, or not whole: %s', async (_size, nar) => {
    const [wrong, right] = [await startFakeUpstream(), await startFakeUpstream()];
    const { url } = addPacked(right, 1, nar);
    const other = Buffer.from(zstdCompressSync(nar));
    other[other.length >> 1] = (other[other.length >> 1] ?? 0) ^ 1;
    wrong.files.set(`/${url}`, other);
    const { get, ask } = setUp(wrong, right);
    expect((await get(url, { Range: 'bytes=5-' }))?.equals(zstdCompressSync(nar).subarray(5))).toBe(true);
    expect((await get(url))?.equals(zstdCompressSync(nar))).toBe(true); // the one that was wrong is not asked again
    expect(headerOf(await ask(`/${url}`), 'cache-control')).toContain('immutable');
  });

  it('names that say nothing of what they name are unknown', async () => {
    const far = await startFakeUpstream();
    far.files.set('/nar/x.nar', SMALL);
    const { ask } = setUp(far);
    const { id } = new Upstream(parseUpstream(far.url), { http: new HttpClient() });
    for (const url of ['nar/x.nar', `nar/u/${id}/${Buffer.from('nar/x.nar').toString('base64url')}`]) {
      expect((await ask(`/${url}`)).status).toBe(404);
    }
    expect(far.requests).toEqual([]);
  });
});

it('a NAR at an absolute URL is had after a restart, once its narinfo says so again', async () => {
  const [far, elsewhere] = [await startFakeUpstream(), await startFakeUpstream()];
  addPacked(far, 1, SMALL);
  const packed = zstdCompressSync(SMALL);
  elsewhere.files.set('/deep/x', packed);
  say(far, 1, { url: `${elsewhere.url}/deep/x` });
  const url = (await setUp(far).infoOf(1))?.url ?? '';
  expect((await setUp(far).get(url))?.equals(packed)).toBe(true);
  say(far, 1, { url: 'nar/y' });
  const before = elsewhere.requests.length;
  expect(await setUp(far).get(url)).toBeUndefined();
  expect(elsewhere.requests).toHaveLength(before);
});

describe('what a client makes up about a NAR', () => {
  const CLAIM = /-([a-z0-9]{52})-([0-9]+)-([a-z0-9]+)(-[a-z0-9]{52})?[/]/;
  it.each([
    ['its size', '-$1-5-$3$4/', { terse: true, plain: true }],
    ['its size', '-$1-5-$3$4/', {}],
    ['its compression', '-$1-$2-gzip$4/', {}],
    ['that it is not compressed', '-$1-$2-none/', { terse: true }],
    ['its NAR hash', `-${hashToBase32(sha256(OTHER))}-$2-$3$4/`, {}],
    ['its file hash', `-$1-$2-$3-${hashToBase32(sha256(OTHER))}/`, {}],
  ])(
    'is not remembered of it for others: %s',
    async (_what, madeUp, { plain = false, ...options }: { plain?: boolean; terse?: boolean }) => {
      for (const isFirst of [true, false]) {
        const far = await startFakeUpstream();
        if (plain) addPath(far, { baseName: baseName(1), nar: SMALL, terse: true, url: 'x' });
        else addPacked(far, 1, SMALL, { url: 'x', ...options });
        const right = (await setUp(far).infoOf(1))?.url ?? '';
        const wrong = right.replace(CLAIM, madeUp);
        expect(wrong).not.toBe(right);
        const { infoOf, get } = setUp(far);
        if (!isFirst) await get((await infoOf(1))?.url);
        await get(wrong).catch(() => undefined);
        await get(wrong, { Range: 'bytes=0-3' }).catch(() => undefined);
        const { url } = (await infoOf(1)) ?? {};
        expect(await get(url)).toEqual(plain ? SMALL : zstdCompressSync(SMALL));
        expect(await get(right)).toEqual(plain ? SMALL : zstdCompressSync(SMALL));
      }
    },
  );

  it('makes nobody ask for anything but its narinfo', async () => {
    const far = await startFakeUpstream();
    const { url } = addPacked(far, 1, SMALL, { url: 'x' });
    const right = (await setUp(far).infoOf(1))?.url ?? '';
    far.requests.length = 0;
    const elsewhere = right.replace(/[^/]*$/, Buffer.from('secret/file').toString('base64url'));
    expect(
      await setUp(far)
        .get(elsewhere)
        .catch(() => undefined),
    ).toBeDefined(); // the NAR itself, from where it is
    expect(far.requests.filter((request) => request.includes('secret'))).toEqual([]);
    expect(url).toBe('x');
  });
});

it('a NAR that its narinfo names otherwise by now is had after a restart, asked for once for all', async () => {
  const far = await startFakeUpstream();
  addPacked(far, 1, SMALL, { url: 'x' });
  const url = (await setUp(far).infoOf(1))?.url ?? '';
  const { get } = setUp(far);
  far.requests.length = 0;
  await Promise.all([get(url), get(url), get(url)]);
  expect(far.requests.filter((request) => request.endsWith('.narinfo'))).toHaveLength(1);
  say(far, 1, { url: 'y' });
  far.files.set('/y', far.files.get('/x') ?? '');
  far.files.delete('/x');
  const moved = await setUp(far).get(url);
  expect(moved && zstdDecompressSync(moved).equals(SMALL)).toBe(true);
});

it('a NAR at a long URL, as presigned ones are, has a short one here, and is had after a restart; not at one without end', async () => {
  const [far, elsewhere] = [await startFakeUpstream(), await startFakeUpstream()];
  addPacked(far, 1, SMALL);
  const packed = zstdCompressSync(SMALL);
  for (const length of [1490, 1510, 8000]) {
    const path = `/deep/x?X-Amz-Security-Token=${'t'.repeat(length)}`;
    elsewhere.files.set(path, packed);
    say(far, 1, { url: `${elsewhere.url}${path}` });
    const { infoOf, get } = setUp(far);
    const url = (await infoOf(1))?.url ?? '';
    expect(url.length).toBeLessThan(2300);
    for (const each of [get, setUp(far).get]) expect((await each(url))?.equals(packed)).toBe(true);
    elsewhere.files.delete(path);
    expect(await get(url)).toBeUndefined();
  }
  say(far, 1, { url: `${elsewhere.url}/${'x'.repeat(8200)}` });
  const { infoOf, events } = setUp(far);
  expect(await infoOf(1)).toBeUndefined();
  expect(events).toMatchObject([{ type: 'refused', reason: expect.stringContaining('longer than 8192') }]);
});
