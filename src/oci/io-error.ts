import { messageOf, NixcacheError } from '../errors.ts';

const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space, or put the cache elsewhere',
  EDQUOT: 'the disk quota is used up; free some space, or put the cache elsewhere',
  EROFS: 'the file system is read-only; remount it writable, or put the cache elsewhere',
  EACCES: 'permission denied; run as the user who owns it, or change its permissions',
  EPERM: 'not permitted; run as the user who owns it, or change its permissions',
  EMFILE: 'too many open files; raise the limit (ulimit -n)',
  EXDEV: 'the two are on different file systems; put them on one',
  ENOTDIR: 'a part of the path is no directory; choose another path',
  EISDIR: 'there is a directory where a file should be; move it away',
  ELOOP: 'links lead in a circle; choose another path',
  ENAMETOOLONG: 'the path is too long; choose a shorter one',
};

/** The `code` of a file system error (`ENOENT`), or undefined for any other error. */
export const ioCodeOf = (error: unknown): string | undefined => {
  const code: unknown = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
};

export const isAbsent = (error: unknown): boolean => ioCodeOf(error) === 'ENOENT';

/** What a failed file system call becomes. An error that is ours already stays as it is. */
export function ioError(doing: string, path: string, cause: unknown): NixcacheError {
  if (cause instanceof NixcacheError) return cause;
  const advice = ADVICE[ioCodeOf(cause) ?? ''] ?? messageOf(cause);
  return new NixcacheError('ERR_IO', `${doing} ${path}: ${advice}`, { cause });
}
