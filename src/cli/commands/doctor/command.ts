/** `nixcache doctor`: the surface; ../run/doctor.ts does the work. */
import { type Command, Option } from 'commander';
import type { ServeFlags } from '../../../config/serve-settings.ts';
import { addCacheOptions, addExamples, collect } from '../../common-options.ts';
import { type CommandContext, type CommonFlags, flagsOf } from '../../context.ts';

export interface DoctorFlags
  extends CommonFlags,
    Pick<ServeFlags, 'port' | 'listen' | 'upstream' | 'keyFile' | 'indexDir'> {}

const JSON_HELP = `
JSON:
  {cache, problems, warnings, findings: [{check, verdict, message, fix}]}
  verdict is ok, warning, problem or skipped. The exit code is 4 when there is a problem.`;

export function addDoctorCommand(program: Command, context: CommandContext): void {
  const command = program
    .command('doctor')
    .summary('find out what is wrong, and how to mend it')
    .description(
      'Looks at every part between the Nix of this machine and the cache: the registry and what we may do there, the ' +
        'index, keys and signatures, other caches, the proxy, and what Nix trusts. Changes nothing. The exit code is 4 ' +
        'when there is a problem.',
    )
    .option('--port <port>', 'port of nixcache serve (or NIXCACHE_PORT; default: 37515)')
    .option('--listen <address>', 'address of nixcache serve (or NIXCACHE_LISTEN; default: 127.0.0.1)')
    .addOption(
      new Option('--key-file <file>', 'secret key that signs here; repeatable (or NIXCACHE_SIGNING_KEY)').argParser(
        collect,
      ),
    )
    .addOption(
      new Option('--upstream <url>', 'other cache in use; repeatable (or NIXCACHE_UPSTREAM)').argParser(collect),
    )
    .option('--no-upstream', 'no other cache is in use')
    .option('--index-dir <dir>', 'where nixcache serve keeps the index (or NIXCACHE_INDEX_DIR)')
    .action(async (_flags: unknown, self: Command) => {
      const { runDoctor } = await import('./run.ts');
      await runDoctor(flagsOf<DoctorFlags>(self), context);
    });
  addExamples(addCacheOptions(command, 'from'), [
    ['nixcache doctor', 'look at everything'],
    ['nixcache doctor --from ghcr.io/owner/repo/nix-cache --key-file cache.secret', 'before the first publish'],
  ]).addHelpText('after', JSON_HELP);
}
