/** The two kinds of place a cache can lie in, each real: an image layout on disk and docker-registry. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RealRegistry } from './real-registry.ts';

export interface CacheHost {
  /** A reference to a cache of this name; nothing is there before something is published. */
  cache(name: string): string;
  tags(name: string): Promise<readonly string[]>;
  /** Every file that makes up what is stored, with the hash of its bytes. */
  snapshot(): Promise<ReadonlyMap<string, string>>;
  stop(): Promise<void>;
}

export interface CacheKind {
  readonly name: string;
  start(): Promise<CacheHost>;
}

export const CACHE_KINDS: readonly CacheKind[] = [
  { name: 'an image layout', start: startLayouts },
  { name: 'docker-registry', start: startRegistry },
];

export async function startLayouts(): Promise<CacheHost> {
  const directory = await mkdtemp(join(tmpdir(), 'nixcache-layouts-'));
  return {
    cache: (name) => `oci:${join(directory, name)}`,
    tags: (name) => layoutTags(join(directory, name)),
    snapshot: () => hashFiles(directory),
    stop: () => rm(directory, { recursive: true, force: true }),
  };
}

export async function startRegistry(): Promise<CacheHost & { readonly registry: RealRegistry }> {
  const registry = await RealRegistry.start();
  return {
    registry,
    cache: (name) => `${registry.host}/e2e/${name}`,
    tags: (name) => registryTags(`http://${registry.host}/v2/e2e/${name}`),
    snapshot: () => hashFiles(join(registry.directory, 'data')),
    stop: () => registry.stop(),
  };
}

/** None of a layout that nobody has made. */
export async function layoutTags(layout: string): Promise<readonly string[]> {
  if (!existsSync(join(layout, 'index.json'))) return [];
  const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as {
    readonly manifests: readonly { readonly annotations?: Readonly<Record<string, string>> }[];
  };
  return manifests.flatMap(({ annotations }) => annotations?.['org.opencontainers.image.ref.name'] ?? []);
}

async function registryTags(repository: string): Promise<readonly string[]> {
  const response = await fetch(`${repository}/tags/list`);
  if (response.status === 404) return [];
  const { tags } = (await response.json()) as { readonly tags: readonly string[] | null };
  return tags ?? [];
}

/** Path to SHA-256 of every file below `directory`. Empty without it. */
export async function hashFiles(directory: string): Promise<ReadonlyMap<string, string>> {
  const hashes = new Map<string, string>();
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const file of files.sort()) {
    hashes.set(
      file.slice(directory.length + 1),
      createHash('sha256')
        .update(await readFile(file))
        .digest('hex'),
    );
  }
  return hashes;
}

interface RootRecord {
  readonly name: string;
  readonly path: string;
  readonly system?: string;
}

/** The roots that the segments of a layout record, oldest first, read as the format's documentation says. */
export async function layoutRoots(reference: string): Promise<readonly RootRecord[]> {
  const layout = reference.replace(/^oci:/, '');
  const readBlob = async (digest: string): Promise<unknown> =>
    JSON.parse(await readFile(join(layout, 'blobs', digest.replace(':', '/')), 'utf8'));
  const { manifests } = JSON.parse(await readFile(join(layout, 'index.json'), 'utf8')) as {
    readonly manifests: readonly { readonly digest: string; readonly artifactType?: string }[];
  };
  const roots: RootRecord[] = [];
  for (const { digest, artifactType } of manifests) {
    if (artifactType !== 'application/vnd.nixcache.segment.v1') continue;
    const { config } = (await readBlob(digest)) as { readonly config: { readonly digest: string } };
    roots.push(...((await readBlob(config.digest)) as { readonly roots: readonly RootRecord[] }).roots);
  }
  return roots;
}
