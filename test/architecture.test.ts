import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url));

interface Room {
  /** Other rooms and packages. Its own files, errors.ts and call-options.ts are free to all. */
  readonly may: readonly string[];
  /** Of Node's own modules, the only ones; without it all are free. */
  readonly node?: readonly string[];
}

const FORMATS = ['nix', 'oci', 'cache-index'];
const CACHE = [...FORMATS, 'streams', 'cache/read', 'cache/write'];
/** For who puts bytes into a cache that are not in one yet. */
const INTAKE = ['cache/disk', 'nar', 'upstream'];

/** Who may import whom. docs/architecture.md explains this table; here it can fail. */
const ROOMS: Readonly<Record<string, Room>> = {
  'errors.ts': { may: [], node: [] },
  'call-options.ts': { may: [], node: [] },
  'shared-work.ts': { may: [], node: [] },
  'environment.ts': { may: [], node: ['node:os', 'node:path'] },
  'bounded-json.ts': { may: [], node: [] },
  'io-error.ts': { may: [], node: [] },
  'regular-file.ts': { may: [], node: ['node:fs', 'node:fs/promises'] },
  'temporary-directory.ts': { may: [], node: ['node:fs/promises', 'node:os', 'node:path'] },
  'child-environment.ts': { may: [], node: [] },
  'url-secrets.ts': { may: [], node: [] },
  'process-group.ts': { may: [], node: [] },
  'quantity.ts': { may: [], node: [] },
  'name-glob.ts': { may: ['picomatch'], node: [] },
  // package.json lies above all rooms.
  'version.ts': { may: ['..'], node: [] },
  nix: { may: ['picomatch', 'zod/mini'], node: ['node:crypto'] },
  streams: { may: [], node: ['node:crypto', 'node:stream', 'node:timers/promises'] },
  nar: { may: ['nix', 'oci', 'streams', '@napi-rs/lzma'] },
  'cache-index': { may: ['nix', 'oci', 'ulid', 'zod/mini'], node: ['node:zlib'] },
  census: { may: FORMATS, node: [] },
  http: { may: [], node: ['node:stream', 'node:timers/promises'] },
  'http/node': { may: ['http', 'undici'] },
  oci: { may: ['streams', 'zod/mini'] },
  'oci/layout': { may: ['oci', 'streams', 'p-limit', 'zod/mini'] },
  'oci/remote': { may: ['http', 'oci', 'streams', 'zod/mini'], node: ['node:stream'] },
  'oci/credentials': { may: ['oci', 'oci/remote', 'execa', 'zod/mini'] },
  'cache/read': {
    may: [...FORMATS, 'streams', 'oci/layout', 'p-limit', 'zod/mini'],
    node: ['node:stream', 'node:zlib'],
  },
  'cache/disk': { may: [...FORMATS, 'nar', 'cache/read', 'cache/write'] },
  // Without a file system: the disk is behind `Spool`.
  'cache/write': {
    may: [...FORMATS, 'streams', 'nar', 'cache/read', 'p-limit'],
    node: ['node:crypto', 'node:stream', 'node:zlib'],
  },
  'nix-store': { may: ['nix', 'execa', 'p-limit', 'zod/mini'] },
  upstream: { may: ['http', 'nix', 'streams', 'aws4fetch', 'p-limit'] },
  publish: { may: [...CACHE, ...INTAKE, 'nix-store', 'p-limit'] },
  // The app: it runs wherever there are `Request` and `Response`. Files, sockets and timers are its adapters'.
  serve: {
    may: [
      ...[...FORMATS, 'streams', 'nar', 'cache/read', 'census', 'upstream', 'hono', 'hono/html', 'hono/utils/html'],
      ...['d3-hierarchy', 'lru-cache', 'zod/mini'],
    ],
    node: ['node:crypto', 'node:stream', 'node:timers/promises'],
  },
  // Brings what was uploaded into the cache.
  'serve/commit': { may: [...CACHE, 'serve', 'nar'], node: [] },
  'serve/worker': { may: ['serve', 'cache/read', 'http', 'oci/remote'], node: [] },
  // With the disk cache: files of NARs; and the directory of uploads, which is locked as layouts are.
  'serve/node': {
    may: ['serve', 'cache/read', 'nix', 'oci', 'oci/layout', 'streams', 'lru-cache', '@prometheus-io/client'],
  },
  gc: { may: [...CACHE, 'census', 'p-limit'] },
  // Implements what gc asks for, `ManifestDeleter`; gc knows nothing of it.
  github: {
    may: [
      ...['http', 'oci', 'oci/remote', 'cache-index', 'gc', '@octokit/core', '@octokit/plugin-paginate-rest'],
      ...['@octokit/plugin-retry', '@octokit/plugin-throttling', 'bottleneck', 'zod/mini'],
    ],
  },
  doctor: {
    may: [...CACHE, 'http', 'http/node', 'oci/remote', 'oci/credentials', 'nix-store', 'upstream', 'zod/mini'],
  },
  catalog: { may: [...CACHE, 'census', 'p-limit'] },
  copy: { may: [...CACHE, ...INTAKE, 'p-limit'] },
  verify: { may: [...CACHE, ...INTAKE, 'census', 'p-limit'] },
  config: { may: ['http', 'nix', 'oci', 'oci/remote', 'nix-store', 'upstream', 'smol-toml'] },
  cli: {
    may: [
      ...[
        ...CACHE,
        'nar',
        'http',
        'http/node',
        'oci/layout',
        'oci/remote',
        'oci/credentials',
        'nix-store',
        'upstream',
        'census',
        'config',
        'copy',
        'cache/disk',
      ],
      ...[
        'publish',
        'serve',
        'serve/node',
        'serve/commit',
        'gc',
        'catalog',
        'doctor',
        'github',
        'verify',
        'commander',
        'ulid',
      ],
    ],
  },
};
const FREE = [
  ...['child-environment.ts', 'errors.ts', 'call-options.ts', 'shared-work.ts', 'environment.ts', 'version.ts'],
  ...[
    'bounded-json.ts',
    'io-error.ts',
    'name-glob.ts',
    'process-group.ts',
    'quantity.ts',
    'regular-file.ts',
    'temporary-directory.ts',
    'url-secrets.ts',
  ],
];

/** What a line that imports can look like, over several lines or not, static or on demand. */
const IMPORT = /^(?:import|export)\b[^;']*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;

/** The innermost room that `path` lies in. */
function roomOf(path: string): string {
  const [first = '', second] = relative(SRC, path).split(sep);
  const inner = `${first}/${second}`;
  return inner in ROOMS ? inner : first;
}

function importsOf(path: string): string[] {
  return [...readFileSync(path, 'utf8').matchAll(IMPORT)].map(
    ([, from, bare, dynamic]) => from ?? bare ?? dynamic ?? '',
  );
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));

test('rooms import downwards only, and only the packages that are theirs', () => {
  const offences = files.flatMap((file) => {
    const path = join(SRC, file);
    const from = roomOf(path);
    const room = ROOMS[from];
    return importsOf(path)
      .map((target) => (target.startsWith('.') ? roomOf(join(dirname(path), target)) : target))
      .filter((to) => to !== from && !FREE.includes(to) && !room?.may.includes(to))
      .filter((to) => !to.startsWith('node:') || (room?.node && !room.node.includes(to)))
      .map((to) => `${file} imports ${to}`);
  });
  expect(offences).toEqual([]);
});

test('no room may import one that may import it', () => {
  const reaches = (from: string, seen = new Set<string>()): Set<string> => {
    for (const to of ROOMS[from]?.may ?? []) {
      if (seen.has(to)) continue;
      seen.add(to);
      reaches(to, seen);
    }
    return seen;
  };
  expect(Object.keys(ROOMS).filter((room) => reaches(room).has(room))).toEqual([]);
});

test('no files import each other in a circle', () => {
  const edges = new Map(
    files.map((file) => {
      const path = join(SRC, file);
      const targets = importsOf(path).filter((target) => target.startsWith('.'));
      return [file, targets.map((target) => relative(SRC, join(dirname(path), target)))] as const;
    }),
  );
  const state = new Map<string, 'open' | 'done'>();
  const circles: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    if (state.get(file) === 'done') return;
    if (state.get(file) === 'open') {
      circles.push([...trail.slice(trail.indexOf(file)), file].join(' → '));
      return;
    }
    state.set(file, 'open');
    for (const to of edges.get(file) ?? []) visit(to, [...trail, file]);
    state.set(file, 'done');
  };
  for (const file of files) visit(file, []);
  expect(circles).toEqual([]);
});

/** What a Cloudflare Worker can run with nodejs_compat, and what of Node's modules that has whole. */
const IN_WORKERS = ['oci/remote/repository.ts', 'http/web-fetch.ts', 'cache/read/index-reader.ts'];
/** All of it, with the app around it. */
const WORKER = 'serve/worker/worker.ts';
/** Loaded with the app and never called in a Worker, which has no upstreams: their directories, and what unpacks their NARs. */
const UNUSED_IN_WORKER = ['upstream/directory-source.ts', 'regular-file.ts', 'nar/tools.ts'];
const WORKERS_HAVE = [
  'aws4fetch',
  'd3-hierarchy',
  'hono',
  'hono/html',
  'hono/utils/html',
  'lru-cache',
  'node:crypto',
  'node:events',
  'node:net',
  'node:stream',
  'node:timers/promises',
  'node:zlib',
  'p-limit',
  'ulid',
  'zod/mini',
];

test('what a Worker runs needs no file, no process and no socket', () => {
  const lackingOf = (entries: readonly string[], unused: readonly string[] = []): string[] => {
    const lacking = new Set<string>();
    const reached = new Set<string>();
    const reach = (path: string): void => {
      const file = relative(SRC, path);
      if (reached.has(path) || unused.includes(file)) return;
      reached.add(path);
      for (const to of importsOf(path)) {
        if (to.startsWith('.')) reach(join(dirname(path), to));
        else if (!WORKERS_HAVE.includes(to)) lacking.add(`${file} needs ${to}`);
      }
    };
    for (const entry of entries) reach(join(SRC, entry));
    return [...lacking].toSorted();
  };
  expect(lackingOf(IN_WORKERS)).toEqual([]);
  expect(lackingOf([WORKER], UNUSED_IN_WORKER)).toEqual([]);
});

test('every file is in a room that the table knows', () => {
  expect([...new Set(files.map((file) => roomOf(join(SRC, file))))].toSorted()).toEqual(Object.keys(ROOMS).toSorted());
});

test('only cache/write makes segments and pushes manifests', () => {
  const isWriting = /\.pushManifest\(|\b(?:commitSegment|encodeSegment)\(/;
  const stores = ['oci', 'oci/layout', 'oci/remote'];
  const mayWrite = (file: string): boolean => {
    const room = roomOf(join(SRC, file));
    // A scratch store lies before a real one, and encodeSegment is defined in cache-index.
    return (
      ['cache/write', ...stores].includes(room) ||
      ['cache/read/scratch-store.ts', 'cache-index/segment.ts'].includes(file)
    );
  };
  const offences = files.filter((file) => isWriting.test(readFileSync(join(SRC, file), 'utf8')) && !mayWrite(file));
  expect(offences).toEqual([]);
});

/** Of these the kernel alone decides what stands in them. */
const READS_PROC = ['serve/node/disk/owner.ts', 'serve/node/limits.ts', 'cli/environment-block.ts'];

test('files are read by regular-file.ts, which waits for no pipe and has a limit', () => {
  const offences = files.filter((file) => {
    const text = readFileSync(join(SRC, file), 'utf8');
    return /\breadFile(?:Sync)?\b/.test(text) && !READS_PROC.includes(file);
  });
  expect(offences).toEqual([]);
});

test('a file stays small enough to be read', () => {
  const long = files.filter((file) => readFileSync(join(SRC, file), 'utf8').split('\n').length > 400);
  expect(long).toEqual([]);
});
