/**
 * Every parser of bytes that others wrote: whatever they are, it gives a value or an error of ours, and soon.
 *
 *     FUZZ_SECONDS=600 nice npx vitest run test/fuzz
 *
 * tries for so long, divided among the parsers; by default each has a fraction of a second. A failure names the bytes.
 */
import { Readable } from 'node:stream';
import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeCacheIndex } from '../../src/cache/read/entry-point.ts';
import { decodeLegacyIndex } from '../../src/cache/read/legacy-index.ts';
import { fetchListing } from '../../src/cache/read/nar-source.ts';
import { decodeCheckpointConfig } from '../../src/cache-index/checkpoint.ts';
import { decodeEntries } from '../../src/cache-index/entries-blob.ts';
import { clientText, parseEntry } from '../../src/cache-index/entry.ts';
import { encodeLookup, LookupTable } from '../../src/cache-index/lookup-table.ts';
import { decodeSegmentConfig } from '../../src/cache-index/segment.ts';
import { decodeRows, encodeRows, scanEntries } from '../../src/cache-index/segment-rows.ts';
import { isNewerTag, parseTag, segmentTag } from '../../src/cache-index/tags.ts';
import { parseConfig } from '../../src/config/load.ts';
import { parseByteSize, parseDuration } from '../../src/config/quantities.ts';
import { isNixcacheError } from '../../src/errors.ts';
import type { GithubApi } from '../../src/github/api.ts';
import { PackageVersions } from '../../src/github/package-versions.ts';
import { systemClock } from '../../src/http/clock.ts';
import { AdaptiveLimit } from '../../src/http/concurrency.ts';
import { Retrier } from '../../src/http/retry.ts';
import { retryAfterMs } from '../../src/http/retry-after.ts';
import { decompress } from '../../src/nar/decompress.ts';
import { parseNarListing } from '../../src/nar/nar-listing.ts';
import { verifyNar } from '../../src/nar/nar-reader.ts';
import { splitAttrPath } from '../../src/nix/attr-path.ts';
import { parseContentAddress } from '../../src/nix/content-address.ts';
import { parseHash } from '../../src/nix/hash.ts';
import { parseNarInfo } from '../../src/nix/nar-info.ts';
import { parseNixCacheInfo } from '../../src/nix/nix-cache-info.ts';
import { decode } from '../../src/nix/nixbase32.ts';
import { quoted } from '../../src/nix/quoted.ts';
import { findSigner, generateKey, parsePublicKey, parseSecretKey, sortPublicKeys } from '../../src/nix/signature.ts';
import { parseBaseName, parseStorePath } from '../../src/nix/store-path.ts';
import { BuildLog } from '../../src/nix-store/build-log.ts';
import { parseJson } from '../../src/nix-store/nix-command.ts';
import { parsePathInfoJson } from '../../src/nix-store/path-info-json.ts';
import { authFor, helperFor, readDockerConfig } from '../../src/oci/credentials/docker-config.ts';
import { digestOf } from '../../src/oci/digest.ts';
import { decodeManifestContent, sniffManifest } from '../../src/oci/layout/references.ts';
import { decodeImageIndex, decodeImageManifest, IMAGE_INDEX, IMAGE_MANIFEST } from '../../src/oci/manifest.ts';
import { parseReference } from '../../src/oci/reference.ts';
import { Authorizer } from '../../src/oci/remote/auth.ts';
import { parseChallenge } from '../../src/oci/remote/challenge.ts';
import { readRegistryError } from '../../src/oci/remote/registry-error.ts';
import { registryKind } from '../../src/oci/remote/registry-kinds.ts';
import { listTags } from '../../src/oci/remote/tags.ts';
import { Transport } from '../../src/oci/remote/transport.ts';
import { parseRange } from '../../src/serve/negotiate.ts';
import { originForm, pathOf } from '../../src/serve/request-path.ts';
import { readBounded } from '../../src/streams/verify.ts';
import { codingsOf, decodeBody } from '../../src/upstream/content-coding.ts';
import { resolveInside } from '../../src/upstream/file-source.ts';
import { parseUpstream } from '../../src/upstream/upstream-cache.ts';
import { hashPartFor } from '../support/cache-builder.ts';
import { GOLDEN_TREES } from '../support/file-tree.ts';
import { narOf } from '../support/nar.ts';
import { tempDir } from '../support/temp-dir.ts';
import { foreign } from './mutations.ts';

interface Target {
  readonly samples: readonly (string | Buffer)[];
  parse(bytes: Buffer): unknown;
}

const of = (samples: Target['samples'], parse: Target['parse']): Target => ({ samples, parse });
/** For parsers of text. */
const text = (samples: readonly string[], parse: (text: string) => unknown): Target =>
  of(samples, (bytes) => parse(bytes.toString('utf8')));

const HEX = 'b'.repeat(64);
const HASH = `sha256:${'0'.repeat(51)}1`;
const BASE = `${'0'.repeat(32)}-hello-2.10`;
const KEY = generateKey('cache.example.org-1');
const SIG = `cache.example.org-1:${Buffer.alloc(64, 1).toString('base64')}`;
const NAR_INFO = `StorePath: /nix/store/${BASE}
URL: nar/x.nar.zst
Compression: zstd
FileHash: ${HASH}
FileSize: 550
NarHash: ${HASH}
NarSize: 1408
References: ${BASE} ${'1'.repeat(32)}-b
Deriver: ${BASE}.drv
Sig: ${SIG}
CA: fixed:r:${HASH}
`;
const ENTRY = `${NAR_INFO}NixcacheNar: sha256:${HEX}@798+500 sha256:${HEX}@0+50
NixcacheListing: sha256:${HEX} sha256:${HEX}@1348+119
NixcacheAsserted: 1700000000
`;
const ENTRIES = Buffer.from([ENTRY, ENTRY.replace('0000-hello', '2222-hello'), NAR_INFO].join('\n'));
const DESCRIPTOR = { mediaType: IMAGE_MANIFEST, digest: `sha256:${HEX}`, size: 10, annotations: { a: 'b' } };
const MANIFEST = JSON.stringify({
  ...{ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config: DESCRIPTOR, layers: [DESCRIPTOR], annotations: { a: 'b' } },
});
const INDEX = JSON.stringify({
  ...{ schemaVersion: 2, mediaType: IMAGE_INDEX, artifactType: 'application/vnd.nixcache.cache-index.v1' },
  ...{
    manifests: [DESCRIPTOR],
    annotations: { 'io.nixcache.format-version': '1', 'io.nixcache.public-keys': KEY.public },
  },
});
const RECORDS = {
  roots: [{ name: 'a', path: BASE, system: 'x86_64-linux', time: 1_700_000_000, run: 'r' }],
  pins: [{ name: 'p', path: BASE, time: 1_700_000_000, removed: true }],
  publicKeys: [KEY.public],
};
const META = { formatVersion: 1, creator: 'c', created: '2026-01-01T00:00:00Z', storeDir: '/nix/store' };
const CONFIG = JSON.stringify({ ...META, entryCount: 3, firstHash: 'a', lastHash: 'b', ...RECORDS });
const CHECKPOINT = JSON.stringify({
  ...{ ...META, ...RECORDS, replaces: ['seg-x'], segments: ['seg-y'], lookup: DESCRIPTOR, retainSeconds: 5 },
});
const LOOKUP = encodeLookup('/nix/store', [
  { tag: 'a', count: 2, entries: ['a', 'b'].map((name) => ({ hashPart: hashPartFor(name), asserted: 1_700_000_000 })) },
]);
const LEGACY = JSON.stringify({
  ...{ version: 1, generated: '2026-04-25T10:00:00Z', public_key: KEY.public, gc_roots: ['0'.repeat(32)] },
  entries: { ['0'.repeat(32)]: { narinfo: NAR_INFO, nar_digest: `sha256:${HEX}`, nar_size: 5, added: '2026-04-25' } },
});
const LISTING = JSON.stringify({
  version: 1,
  root: {
    type: 'directory',
    entries: { a: { type: 'regular', size: 5, executable: true, narOffset: 96 }, b: { type: 'symlink', target: 'a' } },
  },
});
const PATH_INFO = {
  narHash: HASH,
  narSize: 5,
  references: [`/nix/store/${BASE}`],
  signatures: [SIG],
  ca: '',
  valid: true,
};
const DOCKER = JSON.stringify({
  ...{
    auths: { 'https://ghcr.io/v1/': { auth: 'dTpw' }, 'docker.io': {} },
    credsStore: 'pass',
    credHelpers: { x: 'y' },
  },
});
const TREE_NARS = Object.values(GOLDEN_TREES).map((tree) => narOf(tree));
/** `printf … | xz` */
const XZ = Buffer.from(
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AAcABddADcaS3L9cBltLifBtWtb7UKz4ZBZ+YAAAABFAe7rAqxeBQABMx3CvOu3H7bzfQEAAAAABFla',
  'base64',
);
const rows = scanEntries(ENTRIES, 'sample');
const publicKey = parsePublicKey(KEY.public);
const keep = async (source: AsyncIterable<Uint8Array>): Promise<void> => {
  for await (const _ of source);
};
const chunked = async function* (bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 37) yield bytes.subarray(at, at + 37);
};
const URL_OF = new URL('http://registry.example/v2/o/r/manifests/t');
/** A registry that always gives the same answer. */
const transport = (body: string, link: string): Transport =>
  new Transport({
    ...{ name: 'it', registry: new URL('http://registry.example/'), repository: 'o/r', kind: registryKind('ghcr.io') },
    ...{ retrier: new Retrier({ policy: NO_RETRY }), documentTimeoutMs: 1000 },
    authorizer: new Authorizer({
      ...{
        http: { request: async () => Promise.reject(new Error('no token is asked for')) },
        registry: URL_OF,
        host: 'x',
      },
      ...{ repository: 'o/r', kind: registryKind('ghcr.io'), credentials: async () => undefined, now: () => 0 },
    }),
    limits: {
      read: new AdaptiveLimit({ max: 1, clock: systemClock }),
      write: new AdaptiveLimit({ max: 1, clock: systemClock }),
    },
    http: {
      request: async ({ url }) => ({
        ...{
          status: 200,
          headers: { link },
          body: Readable.from([Buffer.from(body)]),
          url: new URL(url),
          asked: new URL(url),
        },
      }),
    },
  });
const NO_RETRY = { attempts: 1, baseDelayMs: 0, maxDelayMs: 0, deadlineMs: 0 };
const listed = { ...parseEntry(ENTRY, '/nix/store') };

const TARGETS: Readonly<Record<string, Target>> = {
  narinfo: text([NAR_INFO], (it) => findSigner(parseNarInfo(it), [publicKey])),
  'nix-cache-info': text(['StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n'], parseNixCacheInfo),
  'public keys': text([KEY.public], (it) => [sortPublicKeys(it.split(' ')), parsePublicKey(it)]),
  'secret keys': text([KEY.secret], parseSecretKey),
  hashes: text([HASH, `sha256-${Buffer.alloc(32, 7).toString('base64')}`, `sha1:${'a'.repeat(40)}`], parseHash),
  'content addresses': text(
    [`fixed:r:${HASH}`, `text:${HASH}`, `fixed:git:sha1:${'a'.repeat(40)}`],
    parseContentAddress,
  ),
  'base 32': text(['0'.repeat(32), '1'.repeat(52)], decode),
  'store paths': text([`/nix/store/${BASE}`, BASE], (it) => [parseStorePath(it), parseBaseName(it)]),
  quoting: text([BASE, '\u0007'], quoted),
  NARs: of(TREE_NARS, (it) => verifyNar(chunked(it), { withListing: true })),
  'NARs in zstd': of([zstdCompressSync(TREE_NARS[0] ?? '')], (it) => keep(decompress(chunked(it), 'zstd', 1e6))),
  'NARs in xz': of([XZ], (it) => keep(decompress(chunked(it), 'xz', 1e6))),
  'NARs in gzip': of([gzipSync(TREE_NARS[0] ?? '')], (it) => keep(decompress(chunked(it), 'gzip', 1e6))),
  'NARs in brotli': of([brotliCompressSync(TREE_NARS[0] ?? '')], (it) => keep(decompress(chunked(it), 'br', 1e6))),
  'NAR listings': text([LISTING], parseNarListing),
  'packed listings': of([zstdCompressSync(LISTING)], (it) => {
    const entry = {
      ...listed,
      listing: { digest: digestOf(it), extents: [{ digest: digestOf(it), offset: 0, length: it.length }] },
    };
    return fetchListing({ fetchBlob: async () => Readable.from([it]), hasBlob: async () => true }, entry);
  }),
  'entries blobs': of([zstdCompressSync(ENTRIES)], (it) => scanEntries(decodeEntries(it, 'it'), 'it')),
  'entries texts': of([ENTRIES], (it) => scanEntries(it, 'it', { onDamaged: () => undefined })),
  'rows of entries': of([encodeRows(rows, ENTRIES)], (it) => decodeRows(it, ENTRIES.length)),
  entries: text([ENTRY, NAR_INFO], (it) => [clientText(it), parseEntry(it, '/nix/store')]),
  tags: text([segmentTag(digestOf(ENTRIES), new Date(1)), 'ckpt2-x'], (it) => [parseTag(it), isNewerTag(it)]),
  'segment configs': of([CONFIG], (it) => decodeSegmentConfig(it, 'it')),
  'checkpoint configs': of([CHECKPOINT], (it) => decodeCheckpointConfig(it, 'it')),
  'look-up tables': of([LOOKUP], (it) => [...LookupTable.decode(it, 'it').find(hashPartFor('a'))]),
  manifests: of([MANIFEST, INDEX], (it) => {
    const descriptor = { mediaType: IMAGE_INDEX, digest: digestOf(it), size: it.length };
    sniffManifest(it);
    return allOf(
      () => decodeImageManifest(it, 'it'),
      () => decodeImageIndex(it, 'it'),
      () => decodeManifestContent(it, 'it'),
      () => decodeCacheIndex({ descriptor, bytes: it }, 'it'),
    );
  }),
  'indexes of cmspam/nixcache-oci': of([LEGACY], (it) => decodeLegacyIndex(it, 'it', () => undefined)),
  references: text(['ghcr.io/o/r', 'oci:/tmp/x', 'localhost:5000/a/b:tag'], parseReference),
  'WWW-Authenticate': text(
    ['Bearer realm="https://x/token",service="x",scope="repository:a:pull"', 'Basic realm="x", Bearer realm="y\\"z"'],
    (it) => parseChallenge(it),
  ),
  'Retry-After': text(['120', 'Wed, 21 Oct 2026 07:28:00 GMT', '1m2.5s'], (it) =>
    retryAfterMs(
      { headers: { 'retry-after': it, 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': it }, body: it },
      0,
    ),
  ),
  'docker configs': of([DOCKER], async (it) => {
    const { writeFile } = await import('node:fs/promises');
    const file = `${await scratch()}/config.json`;
    await writeFile(file, it);
    const config = await readDockerConfig(file);
    return config && [helperFor(config, 'ghcr.io'), authFor(config, 'ghcr.io', 'a/b')];
  }),
  'config files': text(['cache = "oci:/x"\n[serve]\nport = 5\n[[upstream]]\nurl = "https://x"\n'], (it) =>
    parseConfig(it, 'it'),
  ),
  quantities: text(['30d', '2GiB', '1.5G'], (it) =>
    allOf(
      () => parseDuration(it),
      () => parseByteSize(it),
    ),
  ),
  'upstream URLs': text(['https://u:p@x/y?priority=10&trusted-public-key=a:b'], (it) => parseUpstream(it)),
  'URLs in narinfos': text(['nar/x.nar', '../x', 'https://x/y'], (it) => resolveInside('https://x/cache', it)),
  'coded texts of upstreams': of([gzipSync(NAR_INFO), brotliCompressSync(NAR_INFO), zstdCompressSync(NAR_INFO)], (it) =>
    allOf(
      ...['gzip', 'br', 'zstd', 'deflate', 'x', 'gzip,br'].map(
        (header) => () => readBounded(decodeBody(Readable.from([it]), codingsOf(header), 'it'), 1e6, 'it'),
      ),
    ),
  ),
  'Content-Encoding': text(['gzip, br', 'gzip,gzip,gzip,gzip,gzip'], (it) =>
    decodeBody(Readable.from([]), codingsOf(it), 'it').destroy(),
  ),
  'nix path-info': text(
    [
      JSON.stringify({ [`/nix/store/${BASE}`]: PATH_INFO }),
      JSON.stringify([{ path: `/nix/store/${BASE}`, ...PATH_INFO }]),
    ],
    (it) => parsePathInfoJson(parseJson(it, 'it'), '/nix/store'),
  ),
  'nix logs': text(
    ['@nix {"action":"start","id":1,"type":105,"fields":["/nix/store/x.drv","",1,1],"text":""}', 'error: x'],
    (it) => {
      const log = new BuildLog();
      for (const line of it.split('\n')) log.read(line);
    },
  ),
  'attribute paths': text(['packages.x86_64-linux.hello', 'a."b.c"'], splitAttrPath),
  'pages of tags': text(['{"name":"o/r","tags":["a","b"]}', '{"name":"o/r","tags":null}'], (it) =>
    listTags(transport(it, '')),
  ),
  'Link headers': text(['</v2/o/r/tags/list?last=a>; rel="next"', '<http://[>; rel=next'], (it) =>
    listTags(transport('{"tags":["a"]}', it)),
  ),
  'errors of registries': text(['{"errors":[{"code":"DENIED","message":"no"}]}'], (it) =>
    readRegistryError(
      {
        status: 403,
        headers: { 'content-type': it, 'retry-after': it },
        body: Readable.from([Buffer.from(it)]),
        url: URL_OF,
        asked: URL_OF,
      },
      { method: 'PUT', kind: registryKind('ghcr.io'), origin: URL_OF.origin, now: 0 },
    ),
  ),
  "versions of GitHub's API": text(
    ['{"id":1,"name":"sha256:x","owner":{"login":"o"},"metadata":{"container":{"tags":["a"]}}}'],
    async (it) => {
      const data = parseJson(it, 'it');
      const api = { request: async () => ({ data }), paginate: async () => [data] } as unknown as GithubApi;
      return (await PackageVersions.open(api, { owner: 'o', name: 'n' }, {})).list({});
    },
  ),
  ranges: text(['bytes=0-', 'bytes=5-10', 'bytes=-5'], (it) => parseRange(it, 1000)),
  'request targets': text(['/x.narinfo', 'http://x/nar/y.nar', '//x', '/%2e%2e/'], (it) => [
    pathOf(it),
    originForm(it),
  ]),
};

let directory: string | undefined;
const scratch = async (): Promise<string> => {
  directory ??= await tempDir();
  return directory;
};

/** Each of them, whatever the others throw; the first error that is none of ours, else the first. */
async function allOf(...parsers: readonly (() => unknown)[]): Promise<void> {
  const outcomes = await Promise.allSettled(parsers.map(async (parse) => parse()));
  const errors = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
  const bug = errors.find((error) => !isNixcacheError(error));
  if (errors.length > 0) throw bug ?? errors[0];
}

const names = Object.keys(TARGETS);
const total = Number(process.env['FUZZ_SECONDS'] ?? 0);
/** In CI the runs are counted; by hand, the time. */
const budget = total > 0 ? { numRuns: 1e9, interruptAfterTimeLimit: (total * 1000) / names.length } : { numRuns: 150 };

describe('of foreign bytes only values and errors of ours come out:', () => {
  it.each(names)(
    '%s',
    async (name) => {
      const target = TARGETS[name];
      if (!target) throw new Error(name);
      const samples = target.samples.map((sample) => Buffer.from(sample));
      directory = undefined;
      for (const sample of samples) await attempt(target, sample);
      let runs = 0;
      await fc.assert(
        fc.asyncProperty(foreign(samples), async (bytes) => {
          runs++;
          await attempt(target, bytes);
        }),
        { ...budget, markInterruptAsFailure: false },
      );
      if (total > 0) process.stderr.write(`${name}: ${runs} runs\n`);
    },
    Math.max(600_000, total * 1000),
  );
});

/** Most of the processor's time that any of these small inputs may take. */
const TOO_LONG_MS = 2000;

async function attempt(target: Target, bytes: Buffer): Promise<void> {
  const before = process.cpuUsage();
  try {
    await target.parse(bytes);
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
  }
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000).toBeLessThan(TOO_LONG_MS);
}

describe('the header of a range', () => {
  it('never has more sent than there is', () => {
    fc.assert(
      fc.property(foreign([Buffer.from('bytes=0-5')]), fc.nat({ max: 1000 }), (bytes, size) => {
        const range = parseRange(bytes.toString('latin1'), size);
        if (range === undefined || range === 'unsatisfiable') return;
        expect(range.offset).toBeGreaterThanOrEqual(0);
        expect(range.length).toBeGreaterThan(0);
        expect(range.offset + range.length).toBeLessThanOrEqual(size);
      }),
    );
  });
});
