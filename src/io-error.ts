/** What the file system says, for people: what is wrong, and what to do about it. */
import { messageOf, NixcacheError } from './errors.ts';

/** What is wrong, and the remedy: without one, whoever tells it has it put elsewhere. */
const TROUBLES: Readonly<Record<string, readonly [trouble: string, remedy: string]>> = {
  ENOSPC: ['the disk is full', 'free some space, or'],
  EDQUOT: ['the disk quota is used up', 'free some space, or'],
  EROFS: ['the file system is read-only', 'remount it writable, or'],
  EIO: ['the disk reports an error', 'check it, or'],
  EACCES: ['permission denied', 'run as the user who owns it, or change its permissions'],
  EPERM: ['not permitted', 'run as the user who owns it, or change its permissions'],
  ENOENT: ['there is no such file or directory', 'check the path'],
  EEXIST: ['something of that name is there already', 'move it away'],
  EMFILE: ['too many open files', 'raise the limit (ulimit -n)'],
  ENFILE: ['too many open files on this machine', 'close some programs'],
  EXDEV: ['the two are on different file systems', 'put them on one'],
  ENOTDIR: ['a part of the path is no directory', 'choose another path'],
  EISDIR: ['there is a directory where a file should be', 'move it away'],
  ELOOP: ['links lead in a circle', 'choose another path'],
  ENAMETOOLONG: ['the path is too long', 'choose a shorter one'],
};

/** The `code` of a file system error (`ENOENT`), or undefined for any other error. */
export const ioCodeOf = (error: unknown): string | undefined => {
  const code: unknown = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
};

export const isAbsent = (error: unknown): boolean => ioCodeOf(error) === 'ENOENT';

/**
 * What `error` says, for people, on one line: of a failed file system call what was wrong and what to do, of any other error
 * its message. `elsewhere` is what to do where the place itself is no good.
 */
export function ioReason(error: unknown, elsewhere = 'choose another place'): string {
  const [trouble, remedy] = TROUBLES[ioCodeOf(error) ?? ''] ?? [];
  if (trouble === undefined || remedy === undefined) return messageOf(error);
  return `${trouble}; ${remedy}${remedy.endsWith(' or') ? ` ${elsewhere}` : ''}`;
}

/** What a failed file system call becomes. An error that is ours already stays as it is. */
export function ioError(
  doing: string,
  path: string,
  cause: unknown,
  elsewhere = 'put the cache elsewhere',
): NixcacheError {
  if (cause instanceof NixcacheError) return cause;
  return new NixcacheError('ERR_IO', `${doing} ${path}: ${ioReason(cause, elsewhere)}`, { cause });
}

/** The same for what this process has made itself: where it is not there any more, somebody has removed it since. */
export function ownFileError(doing: string, path: string, cause: unknown, elsewhere?: string): NixcacheError {
  if (!isAbsent(cause)) return ioError(doing, path, cause, elsewhere);
  const why =
    'it, or the directory around it, was removed meanwhile, by a gc that took it for left over or by whatever';
  return new NixcacheError('ERR_IO', `${doing} ${path}: ${why} clears old files there; run the same again`, { cause });
}
