/** A Nix expression without a flake, as `nix-build FILE` takes it. */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isNixcacheError, NixcacheError } from '../errors.ts';
import { ioReason } from '../io-error.ts';
import type { FlakeSource } from './flake-source.ts';
import type { NixCommand, RunOptions } from './nix-command.ts';

/** @throws {NixcacheError} ERR_USAGE when there is no such file */
export async function resolveFile(command: NixCommand, file: string, options: RunOptions): Promise<FlakeSource> {
  const directory = await directoryOf(file);
  const url = pathToFileURL(file).href;
  const revision = await revisionOf(command, directory, options);
  return { url, lockedUrl: url, file, ...(revision !== undefined && { revision }) };
}

/** Where a Nix expression lies. @throws {NixcacheError} ERR_USAGE when there is no such file */
export async function directoryOf(file: string): Promise<string> {
  try {
    return (await stat(file)).isDirectory() ? file : dirname(file);
  } catch (cause) {
    throw new NixcacheError('ERR_USAGE', `read the Nix expression ${file}: ${ioReason(cause)}`, { cause });
  }
}

/** The commit that is checked out, with `-dirty` behind it when there are changes; undefined outside of git, or without it. */
async function revisionOf(command: NixCommand, directory: string, options: RunOptions): Promise<string | undefined> {
  const git = (...args: string[]) => command.run('git', ['-C', directory, ...args], options);
  try {
    const head = await git('rev-parse', '--verify', 'HEAD');
    if (head.exitCode !== 0) return undefined;
    const status = await git('status', '--porcelain', '--untracked-files=no');
    return `${head.stdout.trim()}${status.exitCode === 0 && status.stdout.trim() === '' ? '' : '-dirty'}`;
  } catch (error) {
    if (isNixcacheError(error, 'ERR_NIX')) return undefined;
    throw error;
  }
}
