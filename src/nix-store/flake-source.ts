/** Which flake a reference means, pinned: `nix flake metadata --json`, the same in all versions but for additions. */
import * as z from 'zod/mini';
import { NixcacheError } from '../errors.ts';
import { assertFlakeReference } from './flake-reference.ts';
import { NO_GIT } from './missing-programs.ts';
import { type NixCommand, parseJson, type RunOptions } from './nix-command.ts';
import { summariseErrors } from './stderr-tail.ts';

export interface FlakeSource {
  /** Where it is from, without revision and secrets: `github:o/r`, `git+file:///home/me/project?dir=config`, `path:/x`. */
  readonly url: string;
  /**
   * The same, pinned to what was read, as far as it can be: a dirty git tree cannot. It holds no secret either: what was
   * fetched with one, or lies where no URL leads, is named by where Nix put it in the store.
   */
  readonly lockedUrl: string;
  /** The git commit; with `-dirty` behind it when the tree has changes (since Nix 2.17; before that it is left out). */
  readonly revision?: string;
  /** Where Nix put its tree in the store, if it did. */
  readonly path?: string;
  /** Absolute: it is no flake, but the Nix expression in this file, or in default.nix of this directory. */
  readonly file?: string;
  /** Where in the tree flake.nix lies; undefined at its top. */
  readonly directory?: string;
}

const Locked = z.object({
  dir: z.optional(z.string()),
  lastModified: z.optional(z.number()),
  narHash: z.optional(z.string()),
  rev: z.optional(z.string()),
  revCount: z.optional(z.number()),
  submodules: z.optional(z.boolean()),
  shallow: z.optional(z.boolean()),
  allRefs: z.optional(z.boolean()),
  lfs: z.optional(z.boolean()),
  exportIgnore: z.optional(z.boolean()),
});

/** What says which files of a repository belong to the flake, and Nix before 2.20 leaves out of the URLs it prints. */
const SWITCHES = ['submodules', 'shallow', 'allRefs', 'lfs', 'exportIgnore'] as const;

function withSwitches(url: string, locked: z.infer<typeof Locked> = {}): string {
  if (!url.startsWith('git')) return url;
  const has = new URLSearchParams(url.split('?', 2)[1] ?? '');
  const lost = SWITCHES.filter((name) => locked[name] === true && !has.has(name)).map((name) => `${name}=1`);
  return lost.length === 0 ? url : `${url}${url.includes('?') ? '&' : '?'}${lost.join('&')}`;
}

const Metadata = z.object({
  url: z.string(),
  resolvedUrl: z.string(),
  locked: z.optional(Locked),
  /** In the store. */
  path: z.optional(z.string()),
  revision: z.optional(z.string()),
  dirtyRevision: z.optional(z.string()),
});

/** Fetching sources of a remote flake can take minutes. */
const FETCH_TIMEOUT_MS = 30 * 60_000;

/** @throws {NixcacheError} ERR_USAGE when there is no such flake or it cannot be read */
export async function resolveFlake(command: NixCommand, flakeRef: string, options: RunOptions): Promise<FlakeSource> {
  assertFlakeReference(flakeRef);
  const args = ['flake', 'metadata', '--json', '--no-write-lock-file', flakeRef];
  const { exitCode, stdout, stderrLines } = await command.run('nix', args, { timeoutMs: FETCH_TIMEOUT_MS, ...options });
  if (exitCode !== 0) {
    const why = summariseErrors(stderrLines);
    if (/executing '?git'?: No such file/.test(why)) {
      throw new NixcacheError('ERR_NIX', `cannot read the flake '${flakeRef}': ${NO_GIT}`);
    }
    throw new NixcacheError(
      'ERR_USAGE',
      `cannot read the flake '${flakeRef}': ${why}${moreOf(why, stderrLines)}; does 'nix flake metadata ${flakeRef}' work?`,
    );
  }
  const parsed = Metadata.safeParse(parseJson(stdout, 'nix flake metadata'));
  if (!parsed.success) throw new NixcacheError('ERR_NIX', 'nix flake metadata --json has an unknown shape');
  const { path, locked, revision = parsed.data.dirtyRevision } = parsed.data;
  const url = withSwitches(parsed.data.url, locked);
  const resolvedUrl = withSwitches(parsed.data.resolvedUrl, locked);
  const lockedUrl = withoutSecrets(url) === url && IN_URL.test(url) ? url : storeUrl(path, locked);
  return {
    ...{ url: withoutSecrets(resolvedUrl), lockedUrl },
    ...(revision !== undefined && { revision }),
    ...(path !== undefined && { path }),
    ...(locked?.dir ? { directory: locked.dir } : {}),
  };
}

/** What Nix leaves unsaid: that it sees no more than git tracks, and why git failed, which git said before. */
function moreOf(why: string, stderrLines: readonly string[]): string {
  if (/\/flake\.nix'?: No such file/.test(why)) {
    return '; of a git repository Nix sees only what git tracks: if flake.nix is there, git add flake.nix';
  }
  if (!/program '?git'? failed/.test(why)) return '';
  const said = stderrLines.filter((line) => GIT_FAILURE.test(line) && !why.includes(line.trim()));
  return said.length === 0 ? '' : ` (git: ${said.join(' ').replaceAll(/\s+/g, ' ')})`;
}

const GIT_FAILURE = /^(?:fatal|ssh|remote|ERROR): |Permission denied|Host key verification failed/;

/** Nix before 2.20 prints the path of a directory as it is, with spaces and umlauts, and takes no such URL itself. */
const IN_URL = /^[!-~]*$/;

/** What says which flake is meant (Nix's manual, flake references); any other parameter of a URL may be a token. */
const PLAIN_PARAMETERS: ReadonlySet<string> = new Set([
  ...['dir', 'host', 'ref', 'rev', 'revCount', 'lastModified', 'narHash'],
  ...['submodules', 'shallow', 'allRefs', 'lfs', 'exportIgnore', 'unpack', 'flake', 'verifyCommit'],
]);

/** A flake's URL without user and password, and without parameters that are not Nix's. A user of ssh is no secret. */
export function withoutSecrets(url: string): string {
  const [, start = '', userinfo = '', rest = '', query = ''] =
    /^([a-z][a-z0-9+.-]*:(?:\/\/)?)((?<=\/\/)[^/?#]*@)?([^?#]*)(?:\?([^#]*))?/i.exec(url) ?? [];
  if (start === '') return url;
  const user = /^(git\+)?ssh:/i.test(start) ? userinfo.replace(/:.*@$/, '@') : '';
  const kept = query.split('&').filter((pair) => PLAIN_PARAMETERS.has(pair.split('=', 1)[0] ?? ''));
  return `${start}${user}${rest}${kept.length === 0 ? '' : `?${kept.join('&')}`}`;
}

/**
 * The wrapper that asks about a flake is itself copied to the store, for everyone to read: so it names a source that was
 * fetched with a secret by its path there.
 */
function storeUrl(path: string | undefined, locked: z.infer<typeof Locked> = {}): string {
  if (path === undefined)
    throw new NixcacheError('ERR_NIX', 'nix flake metadata --json does not say where the flake is');
  const query = new URLSearchParams(
    Object.entries(locked).map(([name, value]) => [name, String(value)] as [string, string]),
  );
  // Nix reads + as itself.
  return `path:${path}?${query.toString().replaceAll('+', '%20')}`;
}
