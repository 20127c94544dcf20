/** `nixcache verify`: the surface; `run` does the work. */
import { type Command, Option } from 'commander';
import type { VerifyFlags } from '../../../config/verify-settings.ts';
import { addCacheOptions, addExamples, collect } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export type RunVerify = (flags: VerifyFlags & CommonFlags, context: CommandContext) => Promise<void>;

const REPAIR = 'Repair:';

/** `loadRun` imports the work only when the command is chosen. */
export function addVerifyCommand(program: Command, context: CommandContext, loadRun: () => Promise<RunVerify>): void {
  const command = program
    .command('verify')
    .summary('check that a cache is whole, and heal it')
    .description(
      'Checks that index, manifests, blobs, signatures and closures of a cache belong together, and says what helps where ' +
        'they do not. Exits with 4 when it found damage, or when --repair could not heal all of it.',
    )
    .option('--contents', 'read every NAR, and compare it with its hashes and its listing')
    .addOption(
      new Option(
        '--upstream <url>',
        'closures may rest on this cache; repeatable (or NIXCACHE_UPSTREAM; default: https://cache.nixos.org)',
      ).argParser(collect),
    )
    .option('--no-upstream', 'every closure has to be whole in the cache itself')
    .addOption(
      new Option(
        '--trusted-public-key <key>',
        'every entry must be signed by such a key, as name:base64; repeatable (default: the keys that the cache names)',
      ).argParser(collect),
    )
    .action(async (_flags: unknown, self: Command) => {
      const run = await loadRun();
      await run(flagsOf<VerifyFlags>(self), context);
    });
  const options = [
    new Option(
      '--repair',
      'bring back what is lost, from the local Nix store, else from an upstream; drop what nothing heals, with all that refers to it',
    ),
    new Option('--dry-run', 'print what a repair would do, and change nothing'),
    new Option('--drop-incomplete', 'drop also what refers to a path that is nowhere'),
    new Option('--key-file <file>', 'sign what is pushed with this secret key; repeatable').argParser(collect),
  ];
  for (const option of options) command.addOption(option.helpGroup(REPAIR));
  addExamples(addCacheOptions(command, 'from'), [
    ['nixcache verify', 'check index, manifests, blobs, signatures and closures'],
    ['nixcache verify --contents --from oci:./cache', 'read every NAR as well'],
    ['nixcache verify --repair --dry-run', 'see what a repair would push, fetch and drop'],
    ['nixcache verify --repair --key-file key', 'heal the cache, and sign what is pushed'],
  ]);
}
