/**
 * The local Nix store: which paths are valid, what its database says of them, and where their bytes lie.
 *
 * Infos come from `nix path-info --json`, the only source that has signatures and content addresses and is the same
 * through a daemon: one process for a whole closure, 30 ms for 770 paths.
 */
import { join } from 'node:path';
import { NixcacheError } from '../errors.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { type BaseName, baseNameOf, parseStorePath, type StorePath } from '../nix/store-path.ts';
import { atLeast, inBatches, NixCommand, parseJson, type RunOptions } from './nix-command.ts';
import { parsePathInfoJson } from './path-info-json.ts';
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
  /** Where on disk the store object is: `path` itself unless the store is rooted elsewhere. */
  contentPath(path: StorePath | BaseName): string;
}

/** Opens the store that the environment of `command` means. @throws {NixcacheError} ERR_NIX, ERR_USAGE */
export async function openLocalStore(
  options: { readonly command?: NixCommand } & CallOptions = {},
): Promise<NixLocalStore> {
  const { command = new NixCommand(), signal } = options;
  // The version is for later; asked at the same time it costs nothing.
  const [settings] = await Promise.all([command.settings({ signal }), command.version({ signal })]);
  const url = settings.get('store');
  const { env, cwd } = command;
  return new NixLocalStore(command, locateStore(typeof url === 'string' ? url : 'auto', { env, cwd }));
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

  contentPath(path: StorePath | BaseName): string {
    return join(this.#realStoreDir, baseNameOf(path as StorePath));
  }

  async #pathInfos(paths: readonly StorePath[], flags: readonly string[], options: RunOptions) {
    // `--json` without a format is to become an error; the flag exists since 2.33.
    const version = await this.#command.version(options);
    const format = atLeast(version, 2, 33) ? ['--json-format', '1'] : [];
    const infos = new Map<StorePath, PathInfo>();
    // 2.8 takes a bare .drv for its outputs, and 2.13 and later for the file: --derivation makes all mean the file.
    const drvs = paths.filter((path) => path.endsWith('.drv'));
    const others = paths.filter((path) => !path.endsWith('.drv'));
    const asks = [
      ...inBatches(others).map((batch) => [...flags, ...batch]),
      ...inBatches(drvs).map((batch) => [...flags, '--derivation', ...batch]),
    ];
    for (const ask of asks) {
      // --offline: a path we do not have is to be reported, not looked for in every substituter.
      const text = await this.#command.nix(['path-info', '--json', ...format, '--offline', ...ask], options);
      for (const info of parsePathInfoJson(parseJson(text, 'nix path-info'), this.storeDir)) infos.set(info.path, info);
    }
    return [...infos.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
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
