/**
 * Looking at a file system tree as a NAR sees it. Paths and names are bytes, one character each ('latin1'): the names
 * on disk need not be UTF-8.
 */
import { type Dirent, lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { NixcacheError } from '../errors.ts';
import { ioReason, isAbsent } from '../io-error.ts';
import { quoted } from '../nix/quoted.ts';
import { fileNameFromLatin1, NOT_ASCII } from './file-name.ts';
import { MAX_NAME_BYTES } from './nar-token.ts';

/** The first three fit into a NAR. */
export type FileKind = 'regular' | 'directory' | 'symlink' | 'socket' | 'named pipe' | 'device';

export interface DirectoryEntry {
  /** As the NAR has it. */
  readonly name: string;
  /** As the disk has it: differs where Nix's case hack renamed the file. */
  readonly diskName: string;
  readonly kind: FileKind;
}

/** What Nix appends, with a number, to a name that differs from another one only in case (macOS). */
const CASE_HACK_SUFFIX = '~nix~case~hack~';

/** What node:fs takes for the bytes `path`; a string is quicker where it means the same. */
export const toPath = (path: string): string | Buffer => (NOT_ASCII.test(path) ? Buffer.from(path, 'latin1') : path);

/** @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO */
export const kindOfFile = (path: string): FileKind => attempt('look at', path, () => kindOf(lstatSync(toPath(path))));

/** @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO */
export const readTarget = (path: string): string =>
  attempt('read the symlink', path, () => readlinkSync(toPath(path), 'latin1'));

/**
 * The entries of a directory, in the order of a NAR.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO; ERR_FORMAT on names that no NAR can hold
 */
export function readEntries(path: string, caseHack: boolean): DirectoryEntry[] {
  const entries = readAsText(path) ?? readAsBytes(path);
  if (caseHack) for (const [at, entry] of entries.entries()) entries[at] = withoutCaseHack(entry);
  entries.sort(byName);
  let last: DirectoryEntry | undefined;
  for (const entry of entries) {
    if (entry.name.length > MAX_NAME_BYTES || entry.name === '') {
      const what = `the name of ${shown(`${path}/${entry.diskName}`)} is not 1 to ${MAX_NAME_BYTES} bytes long`;
      throw new NixcacheError('ERR_FORMAT', `write a NAR: ${what}`);
    }
    if (last?.name === entry.name) {
      const what = `${shown(`${path}/${last.diskName}`)} and ${quoted(fileNameFromLatin1(entry.diskName))}`;
      throw new NixcacheError('ERR_FORMAT', `write a NAR: ${what} would have the same name without the case hack`);
    }
    last = entry;
  }
  return entries;
}

/**
 * Where the file system does not tell the kind of an entry, Node looks it up by its path, and finds the right file only
 * when path and name are both text or both bytes. So: as text where all is ASCII, which is quicker, else as bytes.
 */
function readAsText(path: string): DirectoryEntry[] | undefined {
  if (NOT_ASCII.test(path)) return undefined;
  const entries: DirectoryEntry[] = [];
  for (const dirent of attempt('list', path, () => readdirSync(path, { withFileTypes: true, encoding: 'latin1' }))) {
    const { name } = dirent;
    if (NOT_ASCII.test(name)) return undefined;
    entries.push({ name, diskName: name, kind: kindOf(dirent) });
  }
  return entries;
}

function readAsBytes(path: string): DirectoryEntry[] {
  const bytes = Buffer.from(path, 'latin1');
  return attempt('list', path, () => readdirSync(bytes, { withFileTypes: true, encoding: 'buffer' })).map((dirent) => {
    const name = dirent.name.toString('latin1');
    return { name, diskName: name, kind: kindOf(dirent) };
  });
}

function withoutCaseHack(entry: DirectoryEntry): DirectoryEntry {
  const at = entry.diskName.indexOf(CASE_HACK_SUFFIX);
  return at < 0 ? entry : { ...entry, name: entry.diskName.slice(0, at) };
}

const byName = (a: DirectoryEntry, b: DirectoryEntry): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function kindOf(file: Dirent<string | Buffer> | Stats): FileKind {
  if (file.isFile()) return 'regular';
  if (file.isDirectory()) return 'directory';
  if (file.isSymbolicLink()) return 'symlink';
  if (file.isSocket()) return 'socket';
  return file.isFIFO() ? 'named pipe' : 'device';
}

/** Runs `operation` on `path`; what the file system says comes back as a NixcacheError. */
export function attempt<T>(what: string, path: string, operation: () => T): T {
  try {
    return operation();
  } catch (cause) {
    const code = isAbsent(cause) ? 'ERR_NOT_FOUND' : 'ERR_IO';
    throw new NixcacheError(code, `write a NAR: cannot ${what} ${shown(path)}: ${ioReason(cause)}`, { cause });
  }
}

/** `path` for a message. */
export const shown = (path: string): string => quoted(fileNameFromLatin1(path));
