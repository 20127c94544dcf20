/** A result that cannot be written is a failure, whichever command has it. */
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { smallCache } from './commands/small-cache.ts';

const BIN = join(import.meta.dirname, '../../bin/nixcache.js');
const cache = smallCache();

it.each([
  ['--help'],
  ['--version'],
  ['list'],
  ['list', '--entries'],
  ['list', '--json'],
  ['info', 'libc'],
  ['pin', 'kept', 'libc'],
  ['pin', '--list'],
  ['gc', '--dry-run'],
  ['verify', '--json'],
  ['doctor'],
  ['copy', 'oci:cache', 'oci:other', '--dry-run'],
  ['discover', '--matrix', 'FLAKE'],
  ['key', 'generate', 'full-1'],
  ['serve', '--port', '0'],
])('%s %s', async (...args) => {
  const words = args.map((arg) => (arg === 'FLAKE' ? join(import.meta.dirname, '../../config') : arg));
  const { exitCode, stderr } = await execa(
    'bash',
    ['-c', 'exec "$@" >/dev/full', 'bash', process.execPath, BIN, ...words],
    {
      ...{ cwd: cache.home, reject: false, extendEnv: false, stdin: 'ignore', timeout: 30_000 },
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: cache.home,
        NIXCACHE_CACHE: cache.reference,
        NIXCACHE_UPSTREAM: 'none',
      },
    },
  );
  expect(stderr).toContain(
    'nixcache: write the result to standard output: the disk is full; free some space, or send it',
  );
  expect(exitCode).toBe(1);
});
