/** Files that must not be read like files: pipes and devices keep their readers for ever, links lead elsewhere. */
import { once } from 'node:events';
import { mkdir, rename, rm, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import { onTestFinished } from 'vitest';
import { tempDir } from './temp-dir.ts';

/** What can stand in a file's place; a link goes to `target`, or to a device that never ends. */
export const ODD_KINDS = ['link', 'dangling link', 'pipe', 'socket', 'endless device', 'directory'] as const;
export type OddKind = (typeof ODD_KINDS)[number];

/** Puts something that is no regular file at `path`, in the place of whatever is there. */
export async function placeOddFile(path: string, kind: OddKind, target = '/dev/zero'): Promise<void> {
  await rm(path, { recursive: true, force: true });
  if (kind === 'link') await symlink(target, path);
  else if (kind === 'dangling link') await symlink(`${path}-nowhere`, path);
  else if (kind === 'pipe') await execa('mkfifo', [path]);
  else if (kind === 'endless device') await symlink('/dev/zero', path);
  else if (kind === 'directory') await mkdir(path);
  else {
    const short = join(await tempDir(), 's'); // the name of a socket has 107 bytes at most
    const server = createServer().listen(short);
    await once(server, 'listening');
    await rename(short, path);
    onTestFinished(() => void server.close());
  }
}
