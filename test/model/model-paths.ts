/** A small Nix store in memory: ten paths with overlapping closures, and their NARs, compressed on the spot. */
import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { MAX_PACKED_BYTES } from '../../src/cache/write/pack.ts';
import type { NarJob, NarResult, NarRunner } from '../../src/nar/nar-job.ts';
import { hashFromBytes, type NixHash } from '../../src/nix/hash.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { baseNameOf, type StorePath, toStorePath } from '../../src/nix/store-path.ts';
import type { LocalStore } from '../../src/nix-store/local-store.ts';
import { noise } from '../support/bytes.ts';
import { baseNameFor } from '../support/cache-builder.ts';
import { narOf } from '../support/nar.ts';

/** Names, and what each refers to. */
const REFERENCES = {
  libc: ['libc'],
  zlib: ['libc'],
  ssl: ['libc', 'zlib'],
  sh: ['libc'],
  curl: ['zlib', 'ssl'],
  docs: [],
  git: ['sh', 'curl'],
  app: ['curl', 'docs'],
  tool: ['sh'],
  suite: ['git', 'app'],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export type PathName = keyof typeof REFERENCES;

/**
 * NARs too large for a pack, each a layer of its own: where a manifest has few, a closure takes several segments. What
 * refers to them, and what they refer to, is both large and small.
 */
const LARGE: ReadonlySet<PathName> = new Set<PathName>(['libc', 'ssl', 'curl', 'git']);
export const PATH_NAMES = Object.keys(REFERENCES) as PathName[];

/** `name` and all that it needs. */
export function closureOf(name: PathName): PathName[] {
  const seen = new Set<PathName>();
  const enter = (each: PathName): void => {
    if (seen.has(each)) return;
    seen.add(each);
    for (const reference of REFERENCES[each]) enter(reference);
  };
  enter(name);
  return [...seen];
}

export const storePathOf = (name: PathName): StorePath => toStorePath(baseNameFor(name));

const sha256 = (bytes: Uint8Array): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

const LISTING = zstdCompressSync('{"version":1,"root":{"type":"regular","size":100}}');

const made = new Map(
  PATH_NAMES.map((name) => {
    const nar = narOf({ contents: noise(LARGE.has(name) ? MAX_PACKED_BYTES + 1 : 100, name) });
    const bytes = zstdCompressSync(nar);
    const info: PathInfo = {
      path: storePathOf(name),
      narHash: sha256(nar),
      narSize: nar.length,
      references: REFERENCES[name].map((each) => baseNameFor(each)).sort(),
      sigs: [],
    };
    const result: NarResult = { fileHash: sha256(bytes), fileSize: bytes.length, bytes, listing: LISTING };
    return [info.path, { name, info, result }];
  }),
);

export const infosOf = (names: readonly PathName[]): PathInfo[] =>
  names.flatMap((name) => made.get(storePathOf(name))?.info ?? []);

export const modelStore: LocalStore = {
  storeDir: '/nix/store',
  queryClosure: async (paths) => {
    const names = new Set(paths.flatMap((path) => closureOf(made.get(path)?.name ?? 'libc')));
    return infosOf([...names]).sort((a, b) => (a.path < b.path ? -1 : 1));
  },
  queryBuildClosure: async () => [],
  queryPathInfos: async (paths) => paths.flatMap((path) => made.get(path)?.info ?? []),
  queryValidPaths: async (paths) => new Set(paths),
  queryRealisations: async () => new Map(),
  contentPath: (path) => baseNameOf(path as StorePath),
};

/** In the place of threads, whose order nobody chooses. */
export const modelPool: NarRunner = {
  run: async (job: NarJob, onProgress): Promise<NarResult> => {
    const result = made.get(job.storePath as StorePath)?.result;
    if (!result) throw new Error(`the model has no ${job.storePath}`);
    onProgress(job.narSize);
    return result;
  },
  close: async () => undefined,
};

/** In the place of a disk: the model's NARs stay in memory. */
export const modelSpool = {
  directory: async () => '/nonexistent',
  open: async () => noFiles(),
  send: async () => noFiles(),
  [Symbol.asyncDispose]: async () => undefined,
};

function noFiles(): never {
  throw new Error('the model has no files');
}

/** By hash part, for messages. */
export const nameOfHash = new Map<string, PathName>(
  PATH_NAMES.map((name) => [baseNameFor(name).slice(0, 32), name] as const),
);
