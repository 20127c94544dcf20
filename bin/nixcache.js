#!/usr/bin/env node
// The shell around dist/cli/main.js: makes sure that the Node which runs it is new enough (undici 8 and zlib's
// zstd ask for 22.19), and turns to the copy that the `node` development dependency installs where it is not.
import { existsSync, lstatSync, mkdirSync } from 'node:fs';
import * as nodeModule from 'node:module'; // as a whole: an older Node, which is told below, lacks enableCompileCache
import { availableParallelism, tmpdir } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

// libuv's threads compress and read files: one for each core; more only cost memory (each has an arena of its own).
process.env['UV_THREADPOOL_SIZE'] ??= String(Math.max(2, availableParallelism()));

// glibc gives every thread a heap of its own, and they fragment beside each other: 50 MiB more for what decompresses. It
// reads this when a process starts, so the jobs that read whole caches start once more (25 ms).
const HEAPS = { MALLOC_ARENA_MAX: '1', ...process.env };
const LONG_JOBS = ['copy', 'verify'];

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
const bundled = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));
if (!existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  process.stderr.write('nixcache is not built here; build it with: npm run build\n');
  process.exitCode = 1;
} else if (major > 22 || (major === 22 && minor >= 19)) {
  const command = process.argv.slice(2).find((word) => !word.startsWith('-')) ?? '';
  const isFresh = process.platform === 'linux' && process.env['MALLOC_ARENA_MAX'] === undefined;
  const compiled = compiledCodeDirectory();
  if (compiled !== undefined) nodeModule.enableCompileCache?.(compiled);
  if ('execve' in process && isFresh && LONG_JOBS.includes(command)) {
    process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], HEAPS);
  }
  await import('../dist/cli/main.js');
} else if (existsSync(bundled)) {
  const { spawn } = await import('node:child_process'); // 6 ms that the others need not wait for
  const { eraseSecrets } = await import('../dist/cli/environment-block.js');
  try {
    eraseSecrets();
  } catch {
    // The child cannot erase its own either, and tells it.
  }
  const child = spawn(bundled, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', ...activationSockets()],
    env: HEAPS,
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGINT' ? 130 : 1);
  });
} else {
  process.stderr.write(
    `nixcache needs Node 22.19 or newer, this is ${process.version}; install one, for instance with: npm install -g node@24\n`,
  );
  process.exitCode = 2;
}

/** Sockets that systemd opened for us (sd_listen_fds(3)), which the child takes as its parent's. */
function activationSockets() {
  const { LISTEN_PID, LISTEN_FDS } = process.env;
  const count = LISTEN_PID === String(process.pid) ? Number(LISTEN_FDS) : 0;
  return Array.from({ length: count > 0 && count <= 64 ? count : 0 }, (_, index) => 3 + index);
}

/**
 * Where compiled code is kept from one start to the next: a directory of this user alone, for what lies there is run.
 * Undefined where none can be made. It is made here, as Node itself tries for ever in some places, such as /proc.
 */
function compiledCodeDirectory() {
  const user = process.getuid?.();
  const directory = resolve(tmpdir(), `node-compile-cache-${user ?? 'nixcache'}`);
  try {
    mkdirSync(directory, { mode: 0o700 });
    return directory;
  } catch (error) {
    const found = error.code === 'EEXIST' ? lstatSync(directory, { throwIfNoEntry: false }) : undefined;
    const isOurs = user === undefined || (found?.uid === user && (found.mode & 0o022) === 0);
    return found?.isDirectory() && isOurs ? directory : undefined;
  }
}
