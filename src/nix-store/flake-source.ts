/** Which flake a reference means, pinned: `nix flake metadata --json`, the same in all versions but for additions. */
import * as z from 'zod/mini';
import { NixcacheError } from '../errors.ts';
import { type NixCommand, parseJson, type RunOptions } from './nix-command.ts';
import { summariseErrors } from './stderr-tail.ts';

export interface FlakeSource {
  /** Where it is from, without revision: `github:o/r`, `git+file:///home/me/project?dir=config`, `path:/x`. */
  readonly url: string;
  /** The same, pinned to what was read, as far as it can be: a dirty git tree cannot. */
  readonly lockedUrl: string;
  /** The git commit; with `-dirty` behind it when the tree has changes (since Nix 2.17; before that it is left out). */
  readonly revision?: string;
}

const Metadata = z.object({
  url: z.string(),
  resolvedUrl: z.string(),
  revision: z.optional(z.string()),
  dirtyRevision: z.optional(z.string()),
});

/** Fetching sources of a remote flake can take minutes. */
const FETCH_TIMEOUT_MS = 30 * 60_000;

/** @throws {NixcacheError} ERR_USAGE when there is no such flake or it cannot be read */
export async function resolveFlake(command: NixCommand, flakeRef: string, options: RunOptions): Promise<FlakeSource> {
  if (flakeRef === '' || flakeRef.startsWith('-') || flakeRef.includes('#')) {
    throw new NixcacheError('ERR_USAGE', `'${flakeRef}' is not a flake: give a directory or a URL without '#'`);
  }
  const args = ['flake', 'metadata', '--json', '--no-write-lock-file', flakeRef];
  const { exitCode, stdout, stderrLines } = await command.run('nix', args, { timeoutMs: FETCH_TIMEOUT_MS, ...options });
  if (exitCode !== 0) {
    throw new NixcacheError(
      'ERR_USAGE',
      `cannot read the flake '${flakeRef}': ${summariseErrors(stderrLines)}; does 'nix flake metadata ${flakeRef}' work?`,
    );
  }
  const parsed = Metadata.safeParse(parseJson(stdout, 'nix flake metadata'));
  if (!parsed.success) throw new NixcacheError('ERR_NIX', 'nix flake metadata --json has an unknown shape');
  const { url, resolvedUrl, revision = parsed.data.dirtyRevision } = parsed.data;
  return { url: resolvedUrl, lockedUrl: url, ...(revision !== undefined && { revision }) };
}
