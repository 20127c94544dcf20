import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { NixcacheError } from '../src/errors.ts';
import { ioError, ioReason } from '../src/io-error.ts';

const failure = (code: string): Error => Object.assign(new Error(`${code}: words of Node`), { code, syscall: 'open' });

it.each([
  ['ENOSPC', 'the disk is full; free some space, or set TMPDIR to another directory'],
  ['EROFS', 'the file system is read-only; remount it writable, or set TMPDIR to another directory'],
  ['EACCES', 'permission denied; run as the user who owns it, or change its permissions'],
])('%s is told in words, with a remedy', (code, said) => {
  expect(ioError('write to', '/x', failure(code), 'set TMPDIR to another directory')).toMatchObject({
    code: 'ERR_IO',
    message: `write to /x: ${said}`,
  });
});

it('what Node says of a file that is not there is told without its words', async () => {
  const error: unknown = await readFile('/nonexistent/file').catch((thrown: unknown) => thrown);
  expect(ioReason(error)).toBe('there is no such file or directory; check the path');
});

it('an error that is no file system call keeps its own message', () => {
  expect(ioReason(new Error('it holds a comma'))).toBe('it holds a comma');
  expect(ioReason(failure('EXOTIC'))).toBe('EXOTIC: words of Node');
  const ours = new NixcacheError('ERR_FORMAT', 'ours');
  expect(ioError('write', '/x', ours)).toBe(ours);
});
