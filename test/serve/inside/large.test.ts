/** Files of large NARs: how much is read of one before a file of it comes, and that none of it comes unchecked. */
import { describe, expect, it } from 'vitest';
import { parseNarListing } from '../../../src/nar/nar-listing.ts';
import { NarParser } from '../../../src/nar/nar-parser.ts';
import { NarLister } from '../../../src/nar/nar-reader.ts';
import { noise } from '../../support/bytes.ts';
import { listingText, narOf } from '../../support/nar.ts';
import { baseName, bodyOf, headerOf, newKey, setUpApp } from '../set-up.ts';

const MIB = 1024 * 1024;
const KEY = newKey('own-1');
const ROOT = `/nix/store/${baseName(1)}`;
const LARGE = Buffer.concat(Array.from({ length: 20 }, (_, seed) => Buffer.alloc(MIB, noise(65_521, seed))));
const NAR = narOf({
  entries: [
    ['early', { contents: 'early' }],
    ['large', { contents: LARGE }],
    ['z', { contents: 'late' }],
  ],
});

function listingOf(nar: Buffer): string {
  const [parser, lister] = [new NarParser(), new NarLister()];
  lister.add(parser.push(nar));
  return listingText(lister.root() ?? parseNarListing(''));
}

const LISTING = listingOf(NAR);
const FORMS = [
  { compression: 'none', frameBytes: undefined },
  { compression: 'zstd', frameBytes: MIB },
] as const;

function setUpLarge(
  { compression, frameBytes = NAR.length }: { compression: 'none' | 'zstd'; frameBytes?: number | undefined },
  options = {},
  path = {},
) {
  const app = setUpApp(options);
  const entry = app.reader.add({
    ...{ baseName: baseName(1), nar: NAR, compression, frameBytes, keys: [KEY], listing: LISTING, hasPieces: true },
    ...path,
  });
  const get = async (name: string, headers = {}) => {
    const reply = await app.ask(`${ROOT}/${name}`, headers);
    return { ...reply, bytes: await bodyOf(reply.body) };
  };
  /** Bytes of the file that were asked for. */
  const opened = (): number =>
    app.reader.opened.reduce((sum, { range }) => sum + (range?.length ?? entry.narInfo.fileSize), 0);
  return { ...app, get, opened, entry };
}

describe.each(FORMS)('of a NAR packed with $compression', (form) => {
  it('a file is had without the rest, where the index vouches for it', async () => {
    const { get, reader } = setUpLarge(form);
    const early = await get('early');
    expect([early.status, String(early.bytes), headerOf(early, 'content-type')]).toEqual([
      200,
      'early',
      'text/plain; charset=utf-8',
    ]);
    expect(String((await get('z')).bytes)).toBe('late');
    const part = await get('large', { Range: 'bytes=9999990-10000009' });
    expect([part.status, part.bytes]).toEqual([206, LARGE.subarray(9_999_990, 10_000_010)]);
    expect(Buffer.compare((await get('large')).bytes, LARGE)).toBe(0);
    expect(reader.opened.every(({ range }) => range !== undefined)).toBe(true);
    await expect.poll(() => reader.opened.every(({ stream }) => stream.destroyed)).toBe(true);
  });

  it('all is read once, where keys are asked for, and then from near the file', async () => {
    const { get, opened, entry } = setUpLarge(form, { trustedPublicKeys: [KEY.publicKey] });
    expect(String((await get('z')).bytes)).toBe('late');
    const before = opened();
    expect(before).toBeGreaterThanOrEqual(entry.narInfo.fileSize);
    for (const [name, text] of [
      ['early', 'early'],
      ['z', 'late'],
    ] as const)
      expect(String((await get(name)).bytes)).toBe(text);
    const part = await get('large', { Range: 'bytes=15000000-15000009' });
    expect(part.bytes).toEqual(LARGE.subarray(15_000_000, 15_000_010));
    // For a plain NAR the pieces that the file lies in; for a packed one what follows on them is asked for, and left.
    if (form.compression === 'none') expect(opened() - before).toBeLessThanOrEqual(8 * MIB);
  });

  it('no byte comes of a piece that is damaged', async () => {
    const { get, reader, entry, events } = setUpLarge(form);
    reader.replaceFile(entry.narInfo.fileHash, Buffer.from(NAR).fill(0, 12 * MIB, 12 * MIB + 1), form);
    // The first piece of what is packed holds that as well.
    if (form.compression === 'none') expect(String((await get('early')).bytes)).toBe('early');
    const reply = await get('large', { Range: `bytes=${12 * MIB - 300}-${12 * MIB + 300}` }).catch(() => undefined);
    expect(reply?.status ?? 404).toBeGreaterThanOrEqual(404);
    expect(events.length).toBeGreaterThan(0);
  });
});

it('a listing without offsets is not read by', async () => {
  const listing = LISTING.replaceAll(/,"narOffset":[0-9]+/g, '');
  const { get } = setUpLarge(FORMS[0], {}, { listing });
  expect((await get('early')).status).toBe(501);
  expect((await get('early', { method: 'HEAD' })).status).toBe(501);
});

it.each([
  ['behind the end', 400 * MIB],
  ['across the end', 20 * MIB],
])('a listing that leads %s makes no answer whole', async (_what, narOffset) => {
  const listing = `{"version":1,"root":{"type":"directory","entries":{"early.txt":{"type":"regular","size":9000000,"narOffset":${narOffset}}}}}`;
  const { get } = setUpLarge(FORMS[1], {}, { listing });
  const reply = await get('early.txt').catch(() => undefined);
  expect(reply === undefined || reply.status >= 404).toBe(true);
});
