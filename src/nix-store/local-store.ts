/**
 * The local Nix store: which paths are valid, what its database says of them, and where their bytes lie.
 *
 * Infos come from `nix path-info --json`, the only source that has signatures and content addresses and is the same
 * through a daemon: one process for a whole closure, 30 ms for 770 paths.
 */
import { join } from 'node:path';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import type { PathInfo } from '../nix/path-info.ts';
import type { Realisation } from '../nix/realisation.ts';
import { type BaseName, baseNameOf, parseStorePath, type StorePath } from '../nix/store-path.ts';
import { atLeast, inBatches, NixCommand, parseJson, type RunOptions } from './nix-command.ts';
import { parsePathInfoJson } from './path-info-json.ts';
import { readRealisations } from './realisation-query.ts';
import { locateStore, type StoreLocation } from './store-location.ts';

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface LocalStore {
  /** As it stands in store paths: /nix/store, as a rule. */
  readonly storeDir: string;
  /**
   * The runtime closure of `paths`, with infos: sorted by path, each once. A `.drv` stands for itself and what it
   * refers to, not for its outputs.
   *
   * @throws {NixcacheError} ERR_NOT_FOUND naming the paths that are not valid
   */
  queryClosure(paths: readonly StorePath[], options?: CallOptions): Promise<readonly PathInfo[]>;
  /** Everything valid that the builds of `drvs` used and made: sources and outputs, no `.drv`; with their closures. */
  queryBuildClosure(drvs: readonly StorePath[], options?: CallOptions): Promise<readonly PathInfo[]>;
  /** Infos of those among `paths` that are valid. */
  queryPathInfos(paths: readonly StorePath[], options?: CallOptions): Promise<readonly PathInfo[]>;
  /** Those among `paths` that are valid. */
  queryValidPaths(paths: readonly StorePath[], options?: CallOptions): Promise<ReadonlySet<StorePath>>;
  /** What is known of outputs whose paths only a build tells, by derivation; each of `drvs` has such. */
  queryRealisations(
    drvs: readonly StorePath[],
    options?: CallOptions,
  ): Promise<ReadonlyMap<StorePath, readonly Realisation[]>>;
  /** Where on disk the store object is: `path` itself unless the store is rooted elsewhere. */
  contentPath(path: StorePath | BaseName): string;
}

/** Opens the store that the environment of `command` means. @throws {NixcacheError} ERR_NIX, ERR_USAGE */
export async function openLocalStore(
  options: { readonly command?: NixCommand } & CallOptions = {},
): Promise<NixLocalStore> {
  const { command = new NixCommand(), signal } = options;
  const url = (await command.settings({ signal })).get('store');
  const { env, cwd } = command;
  return new NixLocalStore(command, locateStore(typeof url === 'string' ? url : 'auto', { env, cwd }));
}

/**
 * Starts to ask for the closure of `paths`, which takes as long as to open the store: `queryClosure` of the same paths
 * then has less to wait for.
 */
export function askAhead(command: NixCommand, paths: readonly StorePath[], options: CallOptions = {}): void {
  const [first] = asksFor(paths, ['--recursive']);
  if (first) command.startAhead([...PATH_INFO, ...first], options);
}

/** Where store paths lie as long as no setting says otherwise: to go by before Nix has told its settings. */
export const usualStoreDir = ({ env, cwd }: NixCommand): string => locateStore('auto', { env, cwd }).storeDir;

/** --offline: a path we do not have is to be reported, not looked for in every substituter. */
const PATH_INFO = ['path-info', '--json', '--offline'];

/** Arguments for one process each. */
function asksFor(paths: readonly StorePath[], flags: readonly string[]): readonly (readonly string[])[] {
  // 2.8 takes a bare .drv for its outputs, and 2.13 and later for the file: --derivation makes all mean the file.
  const drvs = paths.filter((path) => path.endsWith('.drv'));
  const others = paths.filter((path) => !path.endsWith('.drv'));
  return [
    ...inBatches(others).map((batch) => [...flags, ...batch]),
    ...inBatches(drvs).map((batch) => [...flags, '--derivation', ...batch]),
  ];
}

export class NixLocalStore implements LocalStore {
  readonly storeDir: string;
  readonly #realStoreDir: string;
  readonly #command: NixCommand;

  constructor(command: NixCommand, location: StoreLocation) {
    this.#command = command;
    this.storeDir = location.storeDir;
    this.#realStoreDir = location.realStoreDir;
  }

  async queryClosure(paths: readonly StorePath[], options: CallOptions = {}): Promise<readonly PathInfo[]> {
    try {
      return await this.#pathInfos(paths, ['--recursive'], options);
    } catch (error) {
      await this.#throwIfMissing(paths, error, options);
      throw error;
    }
  }

  async queryBuildClosure(drvs: readonly StorePath[], options: CallOptions = {}): Promise<readonly PathInfo[]> {
    const members = new Set<StorePath>();
    try {
      for (const batch of inBatches(drvs)) {
        const args = ['--query', '--requisites', '--include-outputs', ...batch];
        for (const path of this.#lines(await this.#command.nixStore(args, options))) members.add(path);
      }
    } catch (error) {
      await this.#throwIfMissing(drvs, error, options);
      throw error;
    }
    return this.#pathInfos(
      [...members].filter((path) => !path.endsWith('.drv')),
      [],
      options,
    );
  }

  queryPathInfos(paths: readonly StorePath[], options: CallOptions = {}): Promise<readonly PathInfo[]> {
    return this.#pathInfos(paths, [], options);
  }

  async queryValidPaths(paths: readonly StorePath[], options: CallOptions = {}): Promise<ReadonlySet<StorePath>> {
    const valid = new Set(paths);
    for (const batch of inBatches([...valid])) {
      const args = ['--check-validity', '--print-invalid', ...batch];
      for (const path of this.#lines(await this.#command.nixStore(args, options))) valid.delete(path);
    }
    return valid;
  }

  queryRealisations(drvs: readonly StorePath[], options: CallOptions = {}): ReturnType<typeof readRealisations> {
    return readRealisations(this.#command, drvs, options);
  }

  contentPath(path: StorePath | BaseName): string {
    return join(this.#realStoreDir, baseNameOf(path as StorePath));
  }

  async #pathInfos(paths: readonly StorePath[], flags: readonly string[], options: RunOptions) {
    const infos = new Map<StorePath, PathInfo>();
    for (const ask of asksFor(paths, flags)) {
      for (const info of await this.#pathInfo(ask, options)) infos.set(info.path, info);
    }
    return [...infos.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  async #pathInfo(ask: readonly string[], options: RunOptions): Promise<readonly PathInfo[]> {
    const read = async (args: readonly string[]): Promise<readonly PathInfo[]> =>
      parsePathInfoJson(parseJson(await this.#command.nix(args, options), 'nix path-info'), this.storeDir);
    try {
      return await read([...PATH_INFO, ...ask]);
    } catch (error) {
      // `--json` without a format is to become an error; the flag exists since 2.33. Which Nix it is costs a process to ask.
      if (!isNixcacheError(error, 'ERR_NIX') || !atLeast(await this.#command.version(options), 2, 33)) throw error;
      return read([...PATH_INFO, '--json-format', '1', ...ask]);
    }
  }

  async #throwIfMissing(paths: readonly StorePath[], cause: unknown, options: CallOptions): Promise<void> {
    const { signal } = options;
    if (signal?.aborted === true) return;
    const valid = await this.queryValidPaths(paths, options);
    const missing = paths.filter((path) => !valid.has(path));
    if (missing.length === 0) return;
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : '';
    throw new NixcacheError(
      'ERR_NOT_FOUND',
      `${missing[0]}${more}: not valid in the local store; build or fetch it first (nix build, nix-store --realise)`,
      { cause },
    );
  }

  #lines(text: string): readonly StorePath[] {
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => parseStorePath(line, this.storeDir));
  }
}
