import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url));

/** Who may import whom. docs/architecture.md explains this table; here it can fail. Node's own modules are free to all but `pure` rooms. */
const ROOMS: Readonly<Record<string, { readonly may: readonly string[]; readonly pure?: readonly string[] }>> = {
  'errors.ts': { may: [], pure: [] },
  nix: { may: ['errors.ts', '@napi-rs/lzma'], pure: ['node:crypto', 'node:fs', 'node:stream', 'node:zlib'] }, // file trees are read, zstd unpacked
  'cache-index': { may: ['errors.ts', 'nix', 'oci', 'ulid', 'zod/mini'], pure: ['node:zlib'] },
  retention: { may: ['errors.ts', 'nix', 'oci', 'cache-index'], pure: [] },
  http: { may: ['errors.ts', 'undici', 'zod/mini'] },
  oci: { may: ['errors.ts', 'http', 'execa', 'p-limit', 'zod/mini'] },
  cache: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'p-limit', 'zod/mini'] },
  legacy: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'p-limit', 'zod/mini'] },
  'nix-store': { may: ['errors.ts', 'nix', 'execa', 'p-limit', 'picomatch', 'zod/mini'] },
  upstream: { may: ['errors.ts', 'http', 'nix', 'oci', 'p-limit'] },
  publish: {
    may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'nix-store', 'upstream', 'p-limit', '@napi-rs/lzma'],
  },
  serve: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'upstream', 'lru-cache'] },
  gc: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'retention', 'p-limit'] },
  // Implements what gc asks for, `ManifestDeleter`; gc knows nothing of it.
  github: {
    may: [
      ...['errors.ts', 'http', 'oci', 'cache-index', 'gc', '@octokit/core', '@octokit/plugin-paginate-rest'],
      ...['@octokit/plugin-retry', '@octokit/plugin-throttling', 'bottleneck', 'zod/mini'],
    ],
  },
  doctor: {
    may: ['errors.ts', 'nix', 'http', 'oci', 'cache-index', 'cache', 'nix-store', 'upstream', 'zod/mini'],
  },
  catalog: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'retention', 'p-limit', 'picomatch'] },
  copy: {
    may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'legacy', 'upstream', 'p-limit'],
  },
  verify: { may: ['errors.ts', 'nix', 'oci', 'cache-index', 'cache', 'upstream', 'p-limit'] },
  config: { may: ['errors.ts', 'nix', 'oci', 'nix-store', 'upstream', 'smol-toml', 'zod/mini'] },
  cli: {
    may: [
      ...['errors.ts', 'nix', 'http', 'oci', 'cache-index', 'cache', 'legacy', 'nix-store', 'upstream'],
      ...['retention', 'config', 'copy', 'publish', 'serve', 'gc', 'catalog', 'doctor', 'github', 'verify'],
      ...['commander', 'ulid'],
    ],
  },
};

/** What a line that imports can look like, over several lines or not, static or on demand. */
const IMPORT = /^(?:import|export)\b[^;']*?\bfrom '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm;

const roomOf = (path: string): string => relative(SRC, path).split(sep)[0] ?? '';

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
      .filter((to) => to !== from && !room?.may.includes(to))
      .filter((to) => !to.startsWith('node:') || (room?.pure && !room.pure.includes(to)))
      .map((to) => `${file} imports ${to}`);
  });
  expect(offences).toEqual([]);
});

test('every file is in a room that the table knows', () => {
  expect([...new Set(files.map((file) => roomOf(join(SRC, file))))].toSorted()).toEqual(Object.keys(ROOMS).toSorted());
});

test('a file stays small enough to be read', () => {
  const long = files.filter((file) => readFileSync(join(SRC, file), 'utf8').split('\n').length > 400);
  expect(long).toEqual([]);
});
