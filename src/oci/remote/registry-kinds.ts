/** What registries do differently, chosen by host name. Limits and quirks as of November 2026; `generic` is the careful one. */
import { NixcacheError } from '../../errors.ts';

export interface RegistryKind {
  readonly name: RegistryKindName;
  /** Layers that one manifest may have. */
  readonly maxLayers: number;
  /** How manifests are deleted: by the distribution API, through GitHub's Packages API, or not by any API we speak. */
  readonly deletes: 'distribution' | 'github-packages' | 'none';
  /** Tags asked for per page. */
  readonly tagPageSize: number;
  /** One streamed PUT, or one streamed PATCH (never with Content-Range) and an empty PUT. */
  readonly uploads: 'put' | 'patch-put';
}

const REGISTRY_KIND_NAMES = [
  'ghcr',
  'ecr',
  'hub',
  'gar',
  'acr',
  'gitlab',
  'harbor',
  'quay',
  'zot',
  'gitea',
  'distribution',
  'generic',
] as const;

export type RegistryKindName = (typeof REGISTRY_KIND_NAMES)[number];

const USUAL = { maxLayers: 1000, deletes: 'distribution', tagPageSize: 1000, uploads: 'put' } as const;

const KINDS: Readonly<Record<RegistryKindName, RegistryKind>> = {
  // OCI DELETE answers 405 (containers/skopeo#1880).
  ghcr: { ...USUAL, name: 'ghcr', deletes: 'github-packages' },
  // 500 layers, measured (nuonco/nuon#2348); more than 1000 tags a page is an error (google/go-containerregistry#1091).
  ecr: { ...USUAL, name: 'ecr', maxLayers: 500 },
  // A PUT above ~100 MB is 400, a streamed PATCH passes (atlanhq/application-sdk#2020); deletes only by Hub's own API.
  hub: { ...USUAL, name: 'hub', deletes: 'none', tagPageSize: 100, uploads: 'patch-put' },
  gar: { ...USUAL, name: 'gar' },
  acr: { ...USUAL, name: 'acr' },
  gitlab: { ...USUAL, name: 'gitlab' },
  harbor: { ...USUAL, name: 'harbor' },
  quay: { ...USUAL, name: 'quay', tagPageSize: 100 },
  zot: { ...USUAL, name: 'zot' },
  gitea: { ...USUAL, name: 'gitea' },
  distribution: { ...USUAL, name: 'distribution' },
  generic: { ...USUAL, name: 'generic', maxLayers: 500 },
};

const HOSTS: readonly (readonly [RegExp, RegistryKindName])[] = [
  [/^(.+\.)?ghcr\.io$/, 'ghcr'],
  [/^(\d+\.dkr[.-]ecr(-fips)?\..+\.(amazonaws\.com(\.cn)?|on\.aws)|public\.ecr\.aws)$/, 'ecr'],
  [/^((index|registry-1)\.)?docker\.io$/, 'hub'],
  [/^(.+-docker\.pkg\.dev|(.+\.)?gcr\.io)$/, 'gar'],
  [/^.+\.azurecr\.(io|cn|us)$/, 'acr'],
  [/^registry\.gitlab\.com$/, 'gitlab'],
  [/^quay\.io$/, 'quay'],
  [/^codeberg\.org$/, 'gitea'],
];

/** The kind called `name`; else the one that `host` (a name, perhaps with a port) is known to be, else `generic`. */
export function registryKind(host: string, name?: RegistryKindName): RegistryKind {
  const hostname = host.toLowerCase().replace(/:\d+$/, '');
  return KINDS[name ?? HOSTS.find(([pattern]) => pattern.test(hostname))?.[1] ?? 'generic'];
}

/** @throws {NixcacheError} ERR_USAGE naming all kinds */
export function parseRegistryKindName(text: string): RegistryKindName {
  const name = REGISTRY_KIND_NAMES.find((known) => known === text);
  if (name !== undefined) return name;
  throw new NixcacheError('ERR_USAGE', `unknown registry kind '${text}'; one of ${REGISTRY_KIND_NAMES.join(', ')}`);
}

/** Where the API of `host` answers: Docker Hub's is elsewhere. */
export const apiHost = (host: string): string => (/^(index\.)?docker\.io$/.test(host) ? 'registry-1.docker.io' : host);
