/** `nixcache serve`: the surface; `run` does the work. */
import { type Command, Option } from 'commander';
import type { ServeFlags } from '../../../config/serve-settings.ts';
import { addCacheOptions, addExamples, collect } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export type RunServe = (flags: ServeFlags & CommonFlags, context: CommandContext) => Promise<void>;

/** `loadRun` imports the work only when the command is chosen. */
export function addServeCommand(program: Command, context: CommandContext, loadRun: () => Promise<RunServe>): void {
  const command = program
    .command('serve')
    .summary('be a binary cache for Nix clients, in front of a cache')
    .description(
      'Answers Nix clients from a cache and, for what it lacks, from upstream caches. The first line on stdout is the ' +
        'URL to be used as a substituter.',
    )
    .option('--port <port>', 'port to listen on, 0 for a free one (or NIXCACHE_PORT; default: 37515)')
    .option('--listen <address>', 'address to listen on (or NIXCACHE_LISTEN; default: 127.0.0.1)')
    .option(
      '--priority <n>',
      'priority for clients, lower is asked first (default: 30, before cache.nixos.org with 40)',
    )
    .addOption(
      new Option(
        '--upstream <url>',
        'ask this cache for what is missing; repeatable (or NIXCACHE_UPSTREAM; default: https://cache.nixos.org)',
      ).argParser(collect),
    )
    .option('--no-upstream', 'ask no other cache')
    .addOption(
      new Option(
        '--trusted-public-key <key>',
        'serve nothing that no such key signed, as name:base64; repeatable (or NIXCACHE_TRUSTED_PUBLIC_KEYS)',
      ).argParser(collect),
    )
    .option('--index-ttl <duration>', 'how often to look for news in the cache (or NIXCACHE_INDEX_TTL; default: 300s)')
    .option('--index-dir <dir>', 'where to keep the index between runs (or NIXCACHE_INDEX_DIR)')
    .action(async (_flags: unknown, self: Command) => {
      const run = await loadRun();
      await run(flagsOf<ServeFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'from'), [
    ['nixcache serve --from ghcr.io/owner/repo/nix-cache', 'be a substituter at http://127.0.0.1:37515'],
    ['nixcache serve --port 0 --no-upstream', 'on any free port, with nothing but the cache itself'],
    ['nix build --substituters http://127.0.0.1:37515 nixpkgs#hello', 'use it; the key must be trusted'],
  ]);
}
