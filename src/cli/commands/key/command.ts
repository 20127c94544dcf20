/** `nixcache key`: the surface; ../run/key.ts does the work. */
import type { Command } from 'commander';
import { addExamples, addOutputOptions } from '../../common-options.ts';
import { type CommandContext, flagsOf } from '../../context.ts';

export function addKeyCommand(program: Command, context: CommandContext): void {
  const key = program
    .command('key')
    .helpCommand(false)
    .summary('make and show signing keys')
    .description('Makes and shows signing keys in the format of Nix.');

  const generate = key
    .command('generate')
    .summary('make a key pair')
    .description(
      'Makes an Ed25519 key pair: NAME.secret (mode 0600) and NAME.public (mode 0644). Neither is ever overwritten. ' +
        'By custom NAME is the host name of the cache and a number, so that a key can be followed by another.',
    )
    .argument('<name>', 'name of the key, like cache.example.org-1')
    .option('--out-dir <dir>', 'where the two files go', '.')
    .action(async (name: string, _flags: unknown, command: Command) => {
      const { generateKeyFiles } = await import('./run.ts');
      await generateKeyFiles(name, flagsOf<{ outDir: string }>(command).outDir, context);
    });
  addExamples(addOutputOptions(generate), [
    [
      'nixcache key generate cache.example.org-1',
      'make cache.example.org-1.secret and cache.example.org-1.public here',
    ],
    ['gh secret set NIX_SIGNING_KEY < cache.example.org-1.secret', 'let GitHub workflows sign with it'],
  ]);

  const show = key
    .command('public')
    .summary('print the public key of a secret key')
    .description('Prints the public key that belongs to a secret key: what clients put into trusted-public-keys.')
    .argument('<file>', 'secret key file, or - for standard input')
    .action(async (file: string, _flags: unknown, _command: Command) => {
      const { showPublicKey } = await import('./run.ts');
      await showPublicKey(file, context);
    });
  addExamples(addOutputOptions(show), [
    ['nixcache key public cache.example.org-1.secret', 'print cache.example.org-1:… '],
    ['nixcache key public - <<< "$NIX_SIGNING_KEY"', 'the same for a key in a variable'],
  ]);
}
