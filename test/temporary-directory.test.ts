import { expect, it } from 'vitest';
import { temporaryError } from '../src/temporary-directory.ts';

it.each(['ENOENT', 'EACCES', 'ENOSPC', 'ENOTDIR'])('what fails with %s below TMPDIR names TMPDIR, once', (code) => {
  const cause = Object.assign(new Error(code), { code, syscall: 'mkdtemp' });
  const { message } = temporaryError('make a directory in', '/missing', cause);
  expect(message).toMatch(/^make a directory in \/missing: .* set TMPDIR to another directory$/);
  expect(message.match(/TMPDIR/g)).toHaveLength(1);
});
