import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { IndexReader } from '../../src/cache/read/index-reader.ts';
import { commitSegment } from '../../src/cache/write/commit.ts';
import { type Entry, extentsOf } from '../../src/cache-index/entry.ts';
import { encodeSegment } from '../../src/cache-index/segment.ts';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import { signPathInfo } from '../../src/nix/signature.ts';
import type { HashPart } from '../../src/nix/store-path.ts';
import { bytesContent } from '../../src/oci/bytes-content.ts';
import { describeBytes, noise } from '../support/bytes.ts';
import { CacheBuilder, hashPartFor, openReader } from '../support/cache-builder.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { baseName, hashPart, newKey, setUpApp } from './set-up.ts';

type Change = (entry: Entry) => Entry;

const withFields =
  (fields: Readonly<Record<string, unknown>>): Change =>
  (entry) => ({ ...entry, narInfo: { ...entry.narInfo, ...fields } as Entry['narInfo'] });

/** A cache whose newest segment says of the path app what `change` makes of it, and of the path lib what is right. */
async function cacheWith(change: Change, ...blobs: readonly Buffer[]) {
  const store = new MemoryStore();
  await new CacheBuilder(store).publish({ at: new Date(1e12), paths: ['lib', { name: 'app', references: ['lib'] }] });
  const honest = (await openReader(store)).findEntry(hashPartFor('app'));
  if (!honest) throw new Error('the path app is not there');
  const entry = change(honest);
  for (const bytes of blobs) await store.pushBlob(describeBytes(bytes), bytesContent(bytes));
  const needed = new Set(extentsOf(entry).map(({ digest }) => digest));
  const layers = [...needed].map((digest) => describeBytes(store.blobs.get(digest) ?? Buffer.alloc(0)));
  const common = { blobs: layers, storeDir: '/nix/store', creator: 'evil', roots: [], pins: [], publicKeys: [] };
  await commitSegment(store, encodeSegment({ ...common, entries: [entry], now: new Date(2e12) }), {});
  const reader = await IndexReader.open({ store, strict: false });
  await reader.refresh();
  const app = setUpApp({ reader });
  const narInfo = async (hashPart: HashPart = hashPartFor('app')) => {
    const { status, body } = await app.ask(`/${hashPart}.narinfo`);
    return { status, text: String(body) };
  };
  return { ...app, store, honest, narInfo };
}

describe('an entry that somebody else wrote', () => {
  it('hides no older one that a trusted key signed, nor its NAR', async () => {
    const store = new MemoryStore();
    const key = newKey('honest-1');
    await new CacheBuilder(store).publish({ at: new Date(1e12), paths: ['app'] });
    const unsigned = (await openReader(store)).findEntry(hashPartFor('app'));
    if (!unsigned) throw new Error('the path app is not there');
    const honest = { ...unsigned, narInfo: { ...unsigned.narInfo, sigs: [signPathInfo(unsigned.narInfo, key)] } };
    const layers = extentsOf(honest).map(({ digest }) => describeBytes(store.blobs.get(digest) ?? Buffer.alloc(0)));
    const common = { blobs: layers, storeDir: '/nix/store', creator: 'test', roots: [], pins: [], publicKeys: [] };
    for (const [entry, at] of [
      [honest, 2e12],
      [unsigned, 3e12],
    ] as const) {
      await commitSegment(store, encodeSegment({ ...common, entries: [entry], now: new Date(at) }), {});
    }
    const reader = await IndexReader.open({ store, strict: false });
    await reader.refresh();
    expect(reader.findEntry(hashPartFor('app'))?.narInfo.sigs).toEqual(unsigned.narInfo.sigs);
    const { ask } = setUpApp({ reader, trustedPublicKeys: [key.publicKey] });
    const { status, body } = await ask(`/${hashPartFor('app')}.narinfo`);
    expect(status).toBe(200);
    const told = parseNarInfo(String(body));
    expect(told.sigs).toEqual(honest.narInfo.sigs);
    expect((await ask(`/${told.url}`)).status).toBe(200);
    const strangers = setUpApp({ reader, trustedPublicKeys: [newKey('other-1').publicKey] });
    expect((await strangers.ask(`/${hashPartFor('app')}.narinfo`)).status).toBe(404);
  });

  it('gives no NAR of an older one either that no trusted key signed', async () => {
    const store = new MemoryStore();
    const key = newKey('honest-1');
    const builder = new CacheBuilder(store);
    await builder.publish({ at: new Date(1e12), paths: [{ name: 'app', build: 1 }] });
    const forged = (await openReader(store)).findEntry(hashPartFor('app'));
    await builder.publish({ at: new Date(2e12), paths: [{ name: 'app', build: 2 }] });
    const made = (await openReader(store)).findEntry(hashPartFor('app'));
    if (!made || !forged) throw new Error('the path app is not there');
    const honest = { ...made, narInfo: { ...made.narInfo, sigs: [signPathInfo(made.narInfo, key)] } };
    const blobs = extentsOf(honest).map(({ digest }) => describeBytes(store.blobs.get(digest) ?? Buffer.alloc(0)));
    const common = { blobs, storeDir: '/nix/store', creator: 'test', roots: [], pins: [], publicKeys: [] };
    await commitSegment(store, encodeSegment({ ...common, entries: [honest], now: new Date(3e12) }), {});
    const reader = await IndexReader.open({ store, strict: false });
    await reader.refresh();
    const { ask } = setUpApp({ reader, trustedPublicKeys: [key.publicKey] });
    expect((await ask(`/${honest.narInfo.url}`)).status).toBe(200);
    expect((await ask(`/${forged.narInfo.url}`)).status).toBe(404);
  });

  it.each([
    ['a file of the client', { url: 'file:///etc/passwd' }],
    ['another cache', { url: 'https://evil.example/x.nar' }],
    ['what lies above', { url: '../../x.nar.zst' }],
    ['an absolute path', { url: '/etc/passwd' }],
    ['a NAR that is another', { url: `nar/${'0'.repeat(52)}.nar.zst` }],
  ])('has no say in where clients go: to %s', async (_what, fields) => {
    const { narInfo, honest } = await cacheWith(withFields(fields));
    const { status, text } = await narInfo();
    if (status === 200) expect(parseNarInfo(text)).toEqual(honest.narInfo);
    else expect(status).toBe(404);
  });

  it.each([
    ['a compression that no Nix knows', { compression: 'foo' }],
    ['a compression with a line break', { compression: 'zstd\r' }],
    ['no compression, and a file hash that is not the NAR hash', { compression: 'none' }],
    ['a signature that is none', { sigs: ['x y z', 'a:b'] }],
    ['another store directory', { path: `/evil/store/${hashPartFor('app')}-x` }],
    ['control characters in its name', { path: `/nix/store/${hashPartFor('app')}-x\u001b[2J` }],
    ['a reference that is no path', { references: ['../../etc'] }],
    ['a reference with a store directory', { references: [`/other/${'0'.repeat(32)}-x`] }],
    ['a deriver with a line of its own', { deriver: `${'0'.repeat(32)}-x.drv\nURL: file:///etc/passwd` }],
    ['a content address that is none', { ca: 'text:\u0007' }],
    ['a size that is none', { narSize: -1 }],
    ['lines that Nix does not know', { deriver: `${'0'.repeat(32)}-x.drv\nX-Evil: <script>` }],
  ])('is not served with %s', async (_what, fields) => {
    const { narInfo, ask, honest } = await cacheWith(withFields(fields));
    const reply = await narInfo();
    // The older one is.
    expect(reply.status).toBe(200);
    expect(parseNarInfo(reply.text)).toMatchObject({ path: honest.narInfo.path, sigs: [] });
    expect(reply.text).not.toMatch(/Evil|passwd/);
    expect((await narInfo(hashPartFor('lib'))).status).toBe(200); // beside it
    expect(String((await ask('/nix-cache-info')).body)).toContain('StoreDir: /nix/store\n');
  });

  it('is not served under the hash of another path', async () => {
    const { ask, reader, events } = setUpApp();
    const { narInfo } = reader.add({ baseName: baseName(1), nar: noise(100, 1) });
    const entry = reader.findEntry(hashPart(1));
    reader.findEntry = () => entry;
    expect((await ask(`/${hashPart(2)}.narinfo`)).status).toBe(404);
    expect(events).toMatchObject([{ type: 'refused', reason: `it is about ${narInfo.path}` }]);
  });
});

const SYMLINK = '{"version":1,"root":{"type":"symlink","target":"x"}}';
/** Of the one file that test paths have. */
const LISTING = '{"version":1,"root":{"type":"regular","size":100,"narOffset":96}}';

describe('a listing that somebody else wrote', () => {
  it.each([
    ['a page', '<script>alert(1)</script>'],
    ['another version', '{"version":2,"root":{"type":"directory","entries":{}}}'],
    [
      'a name that leaves',
      '{"version":1,"root":{"type":"directory","entries":{"..":{"type":"symlink","target":"x"}}}}',
    ],
    ['keys of its own', '{"version":1,"root":{"type":"symlink","target":"x","evil":"<b>"},"evil":1}', SYMLINK],
  ])('is a listing, or the one that its NAR has: %s', async (_what, text, shown = LISTING) => {
    const bytes = zstdCompressSync(text);
    const blob = describeBytes(bytes);
    const listing = { digest: blob.digest, extents: [{ digest: blob.digest, offset: 0, length: bytes.length }] };
    const { ask } = await cacheWith((entry) => ({ ...entry, listing }), bytes);
    const reply = await ask(`/${hashPartFor('app')}.ls`);
    expect(reply.status).toBe(200);
    expect(String(reply.body)).toBe(shown);
  });
});
