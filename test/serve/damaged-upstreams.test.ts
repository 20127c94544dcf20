/** NARs that an upstream has damaged, cuts, or describes wrongly in what nobody signs. */
import { createHash } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
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
import { type Asked, baseName, bodyOf, hashPart, headerOf, setUpApp } from './set-up.ts';

const NARS = [
  ['small', noise(100_000, 'small')],
  ['large', noise(3_000_000, 'large')],
] as const;
/** Packing a NAR takes xz a second: once for all tests. */
const once = (pack: (nar: Buffer) => Buffer): ((nar: Buffer) => Buffer) => {
  const packed = new Map<Buffer, Buffer>();
  return (nar) => {
    const known = packed.get(nar) ?? pack(nar);
    packed.set(nar, known);
    return known;
  };
};
const PACK = {
  none: (nar: Buffer) => nar,
  xz: once((nar) => Buffer.from(xz.compressSync(nar))),
  zstd: once((nar) => zstdCompressSync(nar)),
  gzip: once((nar) => gzipSync(nar)),
};
type Compression = keyof typeof PACK;
const COMPRESSIONS = Object.keys(PACK) as Compression[];

const sha256 = (bytes: Uint8Array): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

interface Announced {
  readonly nar: Buffer;
  readonly compression: Compression;
  /** Changes what is said, and is not signed. */
  readonly say?: (info: NarInfo) => NarInfo;
  readonly url?: string;
}

function announce(far: FakeUpstream, { nar, compression, say = (info) => info, url }: Announced): Buffer {
  const packed = PACK[compression](nar);
  const fileHash = sha256(packed);
  const said = say({
    ...addPath(far, { baseName: baseName(1), nar, terse: true, url: 'nar/other' }),
    ...{
      compression,
      fileHash,
      fileSize: packed.length,
      url: url ?? `nar/${hashToBase32(fileHash)}.nar.${compression}`,
    },
  });
  far.files.set(`/${hashPart(1)}.narinfo`, formatNarInfo(said));
  far.files.set(`/${said.url}`, packed);
  return packed;
}

/** Flips the byte in the middle of the NAR that `far` has. */
function damage(far: FakeUpstream): void {
  const { url } = parseNarInfo(String(far.files.get(`/${hashPart(1)}.narinfo`)));
  const bytes = Buffer.from(far.files.get(`/${url}`) ?? '');
  for (const at of [10, bytes.length >> 1]) bytes[at] = (bytes[at] ?? 0) ^ 1;
  far.files.set(`/${url}`, bytes);
}

function setUp(...fars: readonly FakeUpstream[]) {
  const http = new HttpClient();
  onTestFinished(() => http.destroy());
  const upstreams = fars.map(({ url }) => new Upstream(parseUpstream(url), { http, patience: PROMPT }));
  const app = setUpApp({ upstreams, headStartMs: 5000, narHeadStartMs: 5000 });
  const narInfo = (): Promise<Asked> => app.ask(`/${hashPart(1)}.narinfo`);
  const urlOf = (reply: Asked): string => parseNarInfo(String(reply.body)).url;
  /** All of it, or undefined where it is a miss or was cut. */
  const get = async (url: string, headers: Record<string, string> = {}): Promise<Buffer | undefined> => {
    const { status, body } = await app.ask(`/${url}`, headers);
    return status === 200 || status === 206 ? await bodyOf(body).catch(() => undefined) : undefined;
  };
  /** As Nix does: goes on where it was cut, as often as that. */
  const download = async (url: string): Promise<Buffer | undefined> => {
    let got = Buffer.alloc(0);
    for (let tries = 0; tries < 5; tries++) {
      const reply = await app.ask(`/${url}`, got.length === 0 ? {} : { Range: `bytes=${got.length}-` });
      if (reply.status !== (got.length === 0 ? 200 : 206)) return undefined;
      try {
        if (Buffer.isBuffer(reply.body)) return undefined;
        for await (const chunk of reply.body) got = Buffer.concat([got, chunk]);
        return got;
      } catch {
        // the next one goes on
      }
    }
    return undefined;
  };
  return { ...app, narInfo, urlOf, get, download };
}

const RANGES = ['bytes=0-', 'bytes=1-', 'bytes=-1', 'bytes=-99999999', 'bytes=50000-50009', 'bytes=0-0'];

describe.each(NARS)('a %s NAR that the first upstream', (size, nar) => {
  it.each(COMPRESSIONS)('has damaged comes from the second: %s', async (compression) => {
    const [bad, good] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const far of [bad, good]) announce(far, { nar, compression });
    damage(bad);
    const { narInfo, urlOf, get, ask } = setUp(bad, good);
    const url = urlOf(await narInfo());
    if (size === 'large') expect(await get(url)).toBeUndefined();
    expect((await get(url))?.equals(PACK[compression](nar))).toBe(true);
    expect((await ask(`/${url}`, { method: 'HEAD' })).status).toBe(200);
    for (const range of RANGES) expect(await get(url, { Range: range }), range).toBeDefined();
    expect(urlOf(await narInfo())).toBe(url);
  });

  it.each(RANGES)('has damaged comes from the second at once, where %j is asked for', async (range) => {
    const [bad, good] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const far of [bad, good]) announce(far, { nar, compression: 'xz' });
    damage(bad);
    const { narInfo, urlOf, ask } = setUp(bad, good);
    const { status, body } = await ask(`/${urlOf(await narInfo())}`, { Range: range });
    expect(status).toBe(206);
    expect((await bodyOf(body)).length).toBeGreaterThan(0);
  });

  it('cuts every time comes from the second', async () => {
    const [bad, good] = [await startFakeUpstream(), await startFakeUpstream()];
    for (const far of [bad, good]) announce(far, { nar, compression: 'xz' });
    bad.faults.breakOffAfter = 0;
    const { narInfo, urlOf, get } = setUp(bad, good);
    expect((await get(urlOf(await narInfo())))?.equals(PACK.xz(nar))).toBe(true);
  });

  it('alone has, and has damaged, is withheld in every form, also by its file hash after a restart', async () => {
    for (const compression of COMPRESSIONS) {
      const far = await startFakeUpstream();
      announce(far, { nar, compression });
      damage(far);
      const { narInfo, urlOf, get, ask } = setUp(far);
      const url = urlOf(await narInfo());
      for (const [when, again] of Object.entries({ now: { get, ask }, later: setUp(far) })) {
        expect(await again.get(url)).toBeUndefined();
        for (const headers of [{}, { method: 'HEAD' }, ...RANGES.map((Range) => ({ Range }))]) {
          const reply = await again.ask(`/${url}`, { 'If-Range': `"${sha256(nar).slice(7)}"`, ...headers });
          expect([when, compression, headers, reply.status]).toEqual([when, compression, headers, 404]);
        }
      }
      expect((await narInfo()).status).toBe(404);
    }
  });

  it.each(RANGES)('alone has, and has damaged, is no answer to %j', async (range) => {
    const far = await startFakeUpstream();
    announce(far, { nar, compression: 'xz' });
    const { narInfo, urlOf, ask } = setUp(far);
    const url = urlOf(await narInfo());
    damage(far);
    expect((await ask(`/${url}`, { Range: range })).status).toBe(404);
    expect((await setUp(far).ask(`/${url}`, { Range: range })).status).toBe(404);
  });
});

describe.each(NARS)('a %s NAR of which the upstream', (_size, nar) => {
  const otherHash = sha256(Buffer.from('other'));
  it.each<[string, Partial<Announced>]>([
    ['another file hash', { say: (info) => ({ ...info, fileHash: otherHash }) }],
    [
      'another file hash, also in its URL',
      { say: (info) => ({ ...info, fileHash: otherHash, url: `nar/${hashToBase32(otherHash)}.nar.xz` }) },
    ],
    ['another file hash and no file size', { say: ({ fileSize: _, ...info }) => ({ ...info, fileHash: otherHash }) }],
    ['one byte', { say: (info) => ({ ...info, fileSize: 1 }) }],
    ['too few bytes', { say: (info) => ({ ...info, fileSize: 2_000_000 }) }],
    ['too many bytes', { say: (info) => ({ ...info, fileSize: 99_999_999_999 }) }],
    ['another file hash and one byte', { say: (info) => ({ ...info, fileHash: otherHash, fileSize: 1 }) }],
  ])('says %s is taken, for what is signed is right', async (_what, lie) => {
    for (const compression of COMPRESSIONS) {
      for (const noLength of compression === 'xz' ? [false, true] : [false]) {
        const far = await startFakeUpstream();
        const packed = announce(far, { nar, compression, ...lie });
        far.faults.noLength = noLength;
        const { narInfo, urlOf, get, download, ask } = setUp(far);
        const url = urlOf(await narInfo());
        const got = await download(url);
        expect([compression, noLength, got?.equals(packed)]).toEqual([compression, noLength, true]);
        const head = await ask(`/${url}`, { method: 'HEAD' });
        expect([head.status, headerOf(head, 'content-length')]).toEqual([200, String(packed.length)]);
        if (url.includes(hashToBase32(otherHash))) expect(headerOf(head, 'cache-control')).not.toContain('immutable');
        expect((await get(url, { Range: 'bytes=0-' }))?.equals(packed)).toBe(true);
        const now = parseNarInfo(String((await narInfo()).body));
        expect(now.fileSize ?? packed.length).toBe(packed.length);
        expect(now.fileHash ?? sha256(packed)).toBe(sha256(packed));
        expect((await get(now.url))?.equals(packed)).toBe(true);
      }
    }
  });
});

it('what an upstream gave damaged after it was right once is no longer given out', async () => {
  const far = await startFakeUpstream();
  const nar = noise(6_000_000, 'later');
  const packed = announce(far, { nar, compression: 'xz' });
  const { narInfo, urlOf, ask } = setUp(far);
  const url = urlOf(await narInfo());
  const part = await ask(`/${url}`, { Range: 'bytes=5000000-5000100' });
  expect((await bodyOf(part.body)).equals(packed.subarray(5_000_000, 5_000_101))).toBe(true);
  damage(far);
  for (const range of ['bytes=3000000-3100000', 'bytes=0-', 'bytes=-6500000', 'bytes=5000000-5000100']) {
    expect([range, (await ask(`/${url}`, { Range: range })).status]).toEqual([range, 404]);
  }
});

it('a refresh has a NAR that was damaged, and is mended, taken from there again', async () => {
  const [, nar] = NARS[0];
  const far = await startFakeUpstream();
  announce(far, { nar, compression: 'none' });
  const { narInfo, urlOf, get, ask } = setUp(far);
  const url = urlOf(await narInfo());
  damage(far);
  expect(await get(url)).toBeUndefined();
  announce(far, { nar, compression: 'none' });
  expect((await narInfo()).status).toBe(404);
  expect((await ask('/_refresh', { method: 'POST' })).status).toBe(200);
  expect((await get(urlOf(await narInfo())))?.equals(nar)).toBe(true);
});
