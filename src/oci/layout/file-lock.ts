/**
 * A lock between processes that the kernel drops with its holder, so that neither `kill -9` nor a reboot leaves it
 * behind and nobody ever has to guess from a pid or an age whether a holder still lives. Holders in other containers
 * count like any other, and on NFS the server keeps the lock.
 *
 * Node has no flock or fcntl, but it carries SQLite, which locks its files with fcntl (LockFileEx on Windows): the lock
 * is an exclusive transaction, never written to, on an empty database. https://sqlite.org/lockingv3.html
 *
 * Traps: the file must never be opened otherwise in this process, for closing any descriptor of it drops an fcntl lock
 * (https://sqlite.org/howtocorrupt.html 2.2), and never be removed while someone may hold or await it.
 */

import { randomInt } from 'node:crypto';
import { access, constants } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import { ioCodeOf, ioError } from '../../io-error.ts';

/** Far above the milliseconds for which a layout's index is held; only a stopped holder or a hung disk gets there. */
const DEFAULT_TIMEOUT_MS = 120_000;
/** Waiters ask again after a random time up to this, so that none of many starves for long. */
const MAX_POLL_MS = 25;
const SQLITE_BUSY = 5;

/**
 * Runs `use` while holding the lock `path`, which is created if absent (its directory must be there).
 *
 * @throws {NixcacheError} ERR_IO when the lock cannot be taken at all, or is not free within `timeoutMs`
 */
export async function withFileLock<T>(
  path: string,
  use: () => Promise<T>,
  options: CallOptions & { readonly timeoutMs?: number } = {},
): Promise<T> {
  const lock = await acquire(resolve(path), options.timeoutMs ?? DEFAULT_TIMEOUT_MS, options.signal);
  try {
    return await use();
  } finally {
    lock.close();
  }
}

async function acquire(path: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<DatabaseSync> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (signal?.aborted) throw abortReason(signal);
    const lock = await tryAcquire(path);
    if (lock) return lock;
    if (performance.now() >= deadline) {
      throw new NixcacheError(
        'ERR_IO',
        `lock ${path}: another process has held it for ${timeoutMs / 1000} s; 'fuser -v' or 'lsof' on that file shows which one: let it finish or end it`,
      );
    }
    await sleep(randomInt(1, MAX_POLL_MS + 1));
  }
}

/** The held lock, to be given back by closing it; undefined if another holds it. */
async function tryAcquire(path: string): Promise<DatabaseSync | undefined> {
  const { DatabaseSync } = loadSqlite();
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // A journal in memory: the transaction touches nothing on disk but the lock.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch (cause) {
    database?.close();
    if (sqliteCodeOf(cause) === SQLITE_BUSY) return undefined;
    throw await lockError(path, cause);
  }
}

/** SQLite says only that it cannot open the file; the directory says why. */
async function lockError(path: string, cause: unknown): Promise<NixcacheError> {
  try {
    await access(dirname(path), constants.W_OK);
  } catch (error) {
    if (ioCodeOf(error)) return ioError('lock', path, error);
  }
  return ioError('lock', path, cause);
}

/** The primary result code: https://sqlite.org/rescode.html */
function sqliteCodeOf(error: unknown): number | undefined {
  const code: unknown = error instanceof Error && 'errcode' in error ? error.errcode : undefined;
  return typeof code === 'number' ? code & 0xff : undefined;
}

/** Loads SQLite when first needed. Node before 24.15 warns that it is experimental, which is nothing to users. */
function loadSqlite(): typeof import('node:sqlite') {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return process.getBuiltinModule('node:sqlite');
  } finally {
    process.emitWarning = emitWarning;
  }
}
