/** `nixcache copy`: the surface; ../run/copy.ts does the work. */
import { type Command, Option } from 'commander';
import type { CopyFlags } from '../../../config/copy-settings.ts';
import { addExamples, addRegistryOptions, collect } from '../../common-options.ts';
import { type CommandContext, flagsOf } from '../../context.ts';

export function addCopyCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('copy')
    .summary('copy a cache, or paths of one, into another')
    .description(
      'Copies a cache into another one, which keeps all that it has. The source is a cache, or a binary cache over HTTP ' +
        'or in a directory. A copy that was stopped goes on where it stopped when it is run again.',
    )
    .argument('<src>', 'ghcr.io/owner/repo/nix-cache, oci:PATH, https://… or file://…')
    .argument('<dst>', 'ghcr.io/owner/repo/nix-cache or oci:PATH')
    .addOption(
      new Option(
        '--path <path>',
        'copy this store path and all that it refers to; repeatable; - reads one a line from standard input',
      ).argParser(collect),
    )
    .option('--roots-only', 'copy what roots and pins need, and nothing else')
    .addOption(
      new Option(
        '--trusted-public-key <key>',
        'copy nothing that no such key signed, as name:base64; repeatable (default for http: the keys of that cache)',
      ).argParser(collect),
    )
    .option('--no-check-sigs', 'copy from an http cache what nobody signed')
    .addOption(new Option('--key-file <file>', 'sign with this secret key too; repeatable').argParser(collect))
    .option('--jobs <n>', 'how much is on its way at once (default: 8)')
    .option('--dry-run', 'count what would be copied, and copy nothing')
    .action(async (source: string, destination: string, _flags: unknown, self: Command) => {
      const { runCopy } = await import('./run.ts');
      await runCopy(source, destination, flagsOf<CopyFlags>(self), context);
    });
  addExamples(addRegistryOptions(command), [
    ['nixcache copy ghcr.io/owner/repo/nix-cache oci:/srv/mirror', 'mirror a cache into a directory'],
    ['nixcache copy oci:./cache registry.example.org/team/cache --roots-only', 'the other way, without what is unused'],
    ['nixcache copy https://cache.nixos.org oci:./cache --path /nix/store/…-hello', 'a closure from a binary cache'],
    ['nix path-info .#app | nixcache copy https://cache.nixos.org oci:./cache --path -', 'the same, from a pipe'],
    ['nixcache copy file:///srv/old-cache ghcr.io/owner/repo/nix-cache', 'all of what nix copy --to file://… wrote'],
  ]).addHelpText(
    'after',
    '\nWith two registries, --username, --password-stdin and --registry-kind are about the destination.',
  );
}
