/** A NAR whose announced file is gone or damaged comes out of another file, in the form that was announced. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { brotliCompressSync, constants, gzipSync, zstdCompressSync } from 'node:zlib';
import { xz } from '@napi-rs/lzma';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { decompress } from '../../src/nar/decompress.ts';
import { hashFromBytes, hashToBase32 } from '../../src/nix/hash.ts';
import { formatNarInfo } from '../../src/nix/nar-info.ts';
import { noise } from '../support/bytes.ts';
import { addPath, type FakeUpstream, startFakeUpstream } from '../support/fake-upstream.ts';
import { type Asked, baseName, bodyOf, hashPart, headerOf } from './set-up.ts';
import { infoOf, KEY, setUp } from './upstream-set-up.ts';

const SMALL = noise(100_000, 'small');
/** Too large to be read before it is sent. */
const LARGE = noise(1_300_000, 'large');
const PACK = {
  none: (nar: Buffer) => nar,
  xz: (nar: Buffer) => Buffer.from(xz.compressSync(nar)),
  zstd: (nar: Buffer) => zstdCompressSync(nar),
  gzip: (nar: Buffer) => gzipSync(nar),
  br: (nar: Buffer) => brotliCompressSync(nar, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
  bzip2: async (nar: Buffer) =>
    Buffer.from((await execa('bzip2', ['-c'], { input: nar, encoding: 'buffer', stripFinalNewline: false })).stdout),
};
type Compression = keyof typeof PACK;

/** An upstream that has `nar` so, and the path of its file there. */
async function startFar(nar: Buffer, compression: Compression): Promise<readonly [far: FakeUpstream, file: string]> {
  const far = await startFakeUpstream();
  const packed = await PACK[compression](nar);
  const fileHash = hashFromBytes(createHash('sha256').update(packed).digest());
  const url = `nar/${hashToBase32(fileHash)}.nar${compression === 'none' ? '' : `.${compression}`}`;
  const info = addPath(far, { baseName: baseName(1), nar, url, key: KEY });
  far.files.set(`/${hashPart(1)}.narinfo`, formatNarInfo({ ...info, compression, fileHash, fileSize: packed.length }));
  far.files.set(`/${url}`, packed);
  return [far, `/${url}`];
}

function flip(far: FakeUpstream, file: string): void {
  const bytes = Buffer.from(far.files.get(file) ?? '');
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  far.files.set(file, bytes);
}

async function unpack(reply: Asked, compression: string): Promise<Buffer> {
  const packed = Readable.from([await bodyOf(reply.body)], { objectMode: false });
  const chunks: Uint8Array[] = [];
  for await (const chunk of decompress(packed, compression)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('a NAR whose file is gone', () => {
  it.each<readonly [Compression, Compression]>([
    ['zstd', 'xz'],
    ['xz', 'zstd'],
    ['none', 'gzip'],
    ['gzip', 'none'],
    ['br', 'zstd'],
    ['bzip2', 'zstd'],
    ['zstd', 'bzip2'],
  ])('and was announced with %s comes from one that has it with %s', async (announced, had) => {
    for (const nar of [SMALL, LARGE]) {
      const [first, file] = await startFar(nar, announced);
      const [second] = await startFar(nar, had);
      const { ask } = setUp([first, second]);
      expect(infoOf(await ask(`/${hashPart(1)}.narinfo`))).toMatchObject({ compression: announced });
      first.files.delete(file);
      for (let times = 0; times < 2; times += 1) {
        const reply = await ask(file);
        expect([reply.status, headerOf(reply, 'cache-control')]).toEqual([200, 'no-store']);
        expect(headerOf(reply, 'accept-ranges')).toBeUndefined();
        expect((await unpack(reply, announced)).equals(nar)).toBe(true);
      }
    }
  });

  it('comes from one that has it in another file with the same compression', async () => {
    const [first, file] = await startFar(LARGE, 'zstd');
    const [second, other] = await startFar(LARGE, 'zstd');
    const packed = zstdCompressSync(LARGE, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
    const fileHash = hashFromBytes(createHash('sha256').update(packed).digest());
    const info = infoOf({
      status: 200,
      headers: new Headers(),
      body: Buffer.from(second.files.get(`/${hashPart(1)}.narinfo`) ?? ''),
    });
    second.files.delete(other);
    second.files.set('/nar/other.nar.zst', packed);
    second.files.set(
      `/${hashPart(1)}.narinfo`,
      formatNarInfo({ ...info, fileHash, fileSize: packed.length, url: 'nar/other.nar.zst' }),
    );
    const { ask } = setUp([first, second]);
    await ask(`/${hashPart(1)}.narinfo`);
    first.files.delete(file);
    expect((await unpack(await ask(file, { Range: 'bytes=100-' }), 'zstd')).equals(LARGE)).toBe(true);
  });

  it('comes from the third where the second has something else, and from nowhere where nobody has it', async () => {
    const [[first, file], [second, other], [third, last]] = [
      await startFar(LARGE, 'zstd'),
      await startFar(LARGE, 'xz'),
      await startFar(LARGE, 'gzip'),
    ];
    const { ask } = setUp([first, second, third]);
    await ask(`/${hashPart(1)}.narinfo`);
    first.files.delete(file);
    flip(second, other);
    expect((await unpack(await ask(file), 'zstd')).equals(LARGE)).toBe(true);
    third.files.delete(last);
    expect((await ask(file)).status).toBe(404);
  });

  it('comes from our own cache, and what our cache has lost from an upstream', async () => {
    const [far, file] = await startFar(SMALL, 'zstd');
    const { ask, reader } = setUp([far]);
    await ask(`/${hashPart(1)}.narinfo`);
    const { narInfo } = reader.add({ baseName: baseName(1), nar: SMALL, keys: [KEY] });
    far.files.delete(file);
    expect((await unpack(await ask(file), 'zstd')).equals(SMALL)).toBe(true);

    const [other] = await startFar(SMALL, 'xz');
    const own = setUp([other]);
    own.reader.add({ baseName: baseName(1), nar: SMALL, keys: [KEY] });
    own.reader.faults.endAfter = 1000;
    expect((await bodyOf((await own.ask(`/${narInfo.url}`)).body)).equals(SMALL)).toBe(true);
  });

  it('is not another NAR, whatever a narinfo says', async () => {
    const [first, file] = await startFar(SMALL, 'zstd');
    const [second, other] = await startFar(SMALL, 'xz');
    const { ask } = setUp([first, second]);
    await ask(`/${hashPart(1)}.narinfo`);
    first.files.delete(file);
    second.files.set(other, await PACK.xz(noise(100_000, 'evil')));
    expect((await ask(file)).status).toBe(404);
  });
});

it('a small NAR that its upstream has damaged comes from another in the form that was announced', async () => {
  const [first, file] = await startFar(SMALL, 'zstd');
  const [second] = await startFar(SMALL, 'xz');
  const { ask } = setUp([first, second]);
  await ask(`/${hashPart(1)}.narinfo`);
  flip(first, file);
  expect((await unpack(await ask(file), 'zstd')).equals(SMALL)).toBe(true);
});

it('a NAR whose upstream only fails comes from another', async () => {
  const [first, file] = await startFar(SMALL, 'zstd');
  const [second] = await startFar(SMALL, 'xz');
  const { ask } = setUp([first, second]);
  await ask(`/${hashPart(1)}.narinfo`);
  Object.assign(first.faults, { status: 503 });
  expect((await unpack(await ask(file), 'zstd')).equals(SMALL)).toBe(true);
});
