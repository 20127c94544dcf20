/** The options that `publish` and `push` share. */
import { type Command, Option } from 'commander';
import { collect } from '../../common-options.ts';

const DIFF = 'What is published:';
const SIGN = 'Signing and packing:';

export function addPushOptions(command: Command): Command {
  const options = [
    new Option(
      '--upstream <url>',
      'leave out what this cache has; repeatable (or NIXCACHE_UPSTREAM; default: https://cache.nixos.org)',
    )
      .argParser(collect)
      .helpGroup(DIFF),
    new Option('--no-upstream', 'publish the whole closure: a cache that needs no other').helpGroup(DIFF),
    new Option(
      '--on-upstream-failure <action>',
      'push: publish what an upstream could not be asked about (default); fail: stop',
    ).helpGroup(DIFF),
    new Option('--with-build-deps', 'publish what is needed to build as well').helpGroup(DIFF),
    new Option('--exclude-path <regex>', 'leave out store paths that match; repeatable')
      .argParser(collect)
      .helpGroup(DIFF),
    new Option('--max-nar-size <size>', 'leave out larger NARs, like 500M or 2GiB').helpGroup(DIFF),
    new Option('--dry-run', 'print what would be published, and publish nothing').helpGroup(DIFF),
    new Option(
      '--key-file <file>',
      'sign with this secret key; repeatable (or NIXCACHE_SIGNING_KEY_FILE; NIXCACHE_SIGNING_KEY or NIX_SIGNING_KEY hold a key itself)',
    )
      .argParser(collect)
      .helpGroup(SIGN),
    new Option('--require-signing', 'fail when there is no key').helpGroup(SIGN),
    new Option('--compression <method>', 'zstd[:LEVEL], xz or none (default: zstd)').helpGroup(SIGN),
    new Option('--jobs <n>', 'NARs to compress at once (default: one for each CPU)').helpGroup(SIGN),
  ];
  return options.reduce((each, option) => each.addOption(option), command);
}
