/** What verify has to say: each finding names a thing, what is wrong with it, and what helps. */
import { type Trouble, troubleOf as troubleIn } from '../cache/read/problem.ts';
import type { CallOptions } from '../call-options.ts';

/** `damage`: something is lost or refused. `warning`: it works, but should not be so. `info`: worth knowing. */
type Severity = 'damage' | 'warning' | 'info';

export interface Finding {
  readonly kind: FindingKind;
  readonly severity: Severity;
  /** A tag, a digest or a store path. */
  readonly what: string;
  readonly message: string;
  readonly remedy: string;
}

const REPAIR = 'nixcache verify --repair';
const REWRITE = `${REPAIR} writes the segment anew`;
const BYTES = `${REPAIR} pushes it again from the local Nix store or an upstream, else drops it with all that refers to it`;
const SIGN = `publish it again with the key, which signs it where it is; or ${REPAIR} --key-file FILE where the local Nix store has it`;

const SIGN_ELSEWHERE = 'publish it again with the key, from a machine that has it';
const OTHERS_HAVE_IT = 'publish it from a machine that has it, or name the cache that has it (--upstream)';
const NOT_HEALED = 'this repair could not heal it: publish again what is concerned, from a machine that has it';

/** Severity and remedy of each kind. The names are in the JSON: scripts rely on them. */
export const KINDS = {
  'cache-index-missing': ['warning', `${REPAIR} writes it anew; readers go by the tags meanwhile`],
  'cache-index-stale': ['warning', `${REPAIR} writes it anew; so does the next publish`],
  'cache-index-unreadable': ['damage', `${REPAIR} writes it anew; until then nothing can be published`],
  'cache-index-foreign': ['damage', 'another tool wrote it: publish to another repository, or remove that tag'],
  'checkpoint-unreadable': [
    'damage',
    `restore the blob, or ${REPAIR} removes the checkpoint: what it dropped and is not deleted yet comes back, roots that only it recorded are lost`,
  ],
  'checkpoint-damaged': ['damage', `${REPAIR} writes another in its place`],
  'record-orphan': ['warning', 'nixcache gc removes it: a gc was cut off'],
  'replaced-lingers': ['info', 'nixcache gc deletes it where the registry can delete'],
  'segment-missing': ['damage', `${REPAIR} saves what can be saved of it and drops the rest`],
  'segment-damaged': ['damage', REWRITE],
  'segment-untagged': ['damage', `${REPAIR} gives it its tag again, before the registry collects it`],
  'duplicate-digest': ['warning', 'remove the tag that is not needed: deleting either deletes both on some registries'],
  'config-damaged': ['damage', `${REWRITE}; roots that only it recorded are lost`],
  'config-inconsistent': ['damage', REWRITE],
  'entries-missing': ['damage', `${REPAIR} saves what the index copy on this machine has of it and drops the rest`],
  'entries-damaged': ['damage', `${REPAIR} saves what can be saved of it and drops the rest`],
  'entries-unsorted': ['damage', REWRITE],
  'entry-damaged': ['damage', `${REPAIR} leaves it out; publish the path again`],
  'entry-malformed': ['damage', `${REPAIR} writes it as it should be`],
  'blob-unreachable': ['damage', `${REPAIR} names it in a manifest, before the registry collects it`],
  'blob-missing': ['damage', BYTES],
  'blob-damaged': ['damage', BYTES],
  unsigned: ['warning', SIGN],
  untrusted: ['damage', SIGN],
  'signature-wrong': ['damage', SIGN],
  'key-malformed': ['warning', 'see who publishes with such a key: nixcache key generate NAME makes one'],
  'unsigned-cache': ['warning', 'make a key (nixcache key generate NAME) and publish with --key-file'],
  'missing-reference': [
    'damage',
    `publish it from a machine that has it, name the cache that has it (--upstream), or ${REPAIR} where the local Nix store has it`,
  ],
  'misnamed-reference': [
    'damage',
    'publish again what refers to it, from a machine that has it: as it is, no client can fetch it',
  ],
  'left-out-on-purpose': [
    'info',
    'clients need it from elsewhere; to bring it, publish without --exclude-path and --max-nar-size',
  ],
  'unknown-reference': ['warning', 'run verify again when the upstream answers, or with --no-upstream'],
  'root-dangling': ['warning', 'publish it again; else nixcache gc forgets it after the retention'],
  'pin-dangling': ['warning', 'push the path again, or remove the pin: nixcache pin --remove NAME'],
  'nar-corrupt': ['damage', BYTES],
  'nar-mismatch': ['damage', BYTES],
  'listing-damaged': ['damage', `${REPAIR} drops the listing; the NAR stays`],
  'pieces-wrong': [
    'damage',
    `${REPAIR} drops the digests of its pieces; the NAR stays, but until then serve takes it for damaged`,
  ],
  unchecked: [
    'warning',
    'install the program for it: xz, bzip2, lz4, lzip or gzip, as the method is called; what no program reads Nix itself has to',
  ],
  unanswered: ['damage', 'look into the registry: it gives an error for this alone; nothing is dropped meanwhile'],
} as const satisfies Record<string, readonly [Severity, string]>;

export type FindingKind = keyof typeof KINDS;

/** What helps where a repair was tried, and was of no help; `signs`: it had a key. */
export function afterRepair(finding: Finding, signs: boolean): Finding {
  const { kind, remedy } = finding;
  if (!remedy.includes(REPAIR) || (remedy === SIGN && !signs)) return finding;
  if (kind === 'missing-reference') return { ...finding, remedy: OTHERS_HAVE_IT };
  return { ...finding, remedy: remedy === SIGN ? SIGN_ELSEWHERE : NOT_HEALED };
}

/** Collects findings; each kind of each thing once. */
export class Findings {
  readonly #list: Finding[] = [];
  readonly #seen = new Set<string>();

  get list(): readonly Finding[] {
    return this.#list;
  }

  add(kind: FindingKind, what: string, message: string): void {
    const key = findingKey({ kind, what });
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const [severity, remedy] = KINDS[kind];
    this.#list.push({ kind, severity, what, message, remedy });
  }
}

/** The same for the same trouble in two runs. */
const findingKey = ({ kind, what }: Pick<Finding, 'kind' | 'what'>): string => `${kind} ${what}`;

/** `one, two and 3 more`: names without flooding the reader. */
export function someOf(names: readonly string[], shown = 2): string {
  const more = names.length - shown;
  return `${names.slice(0, shown).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** @throws {NixcacheError} what says nothing about the content: no network, no credentials, a newer format, an abort */
export function troubleOf(error: unknown, { signal }: CallOptions): Trouble {
  signal?.throwIfAborted();
  const trouble = troubleIn(error);
  if (!trouble) throw error;
  return trouble;
}
