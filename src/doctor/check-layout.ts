/** A cache on disk: is it there, and may we write to it? */
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ioReason } from '../io-error.ts';
import type { LayoutReference } from '../oci/reference.ts';
import type { StoreFindings } from './check-registry.ts';
import { ok, problem, warning } from './finding.ts';

export async function checkLayout({ path }: LayoutReference): Promise<StoreFindings> {
  const inTheWay = await whatIsInTheWay(path);
  if (inTheWay !== undefined) {
    const fix = 'name another directory, which need not be there yet: --cache oci:PATH';
    return { withoutIndex: 'there is no cache', findings: [problem('pull', inTheWay, fix)] };
  }
  if (!(await exists(join(path, 'oci-layout')))) {
    const withoutIndex = 'nothing was published yet';
    const message = `there is no cache in ${path} yet`;
    return {
      withoutIndex,
      findings: [warning('pull', message, 'publish something, which makes it: nixcache publish')],
    };
  }
  const reading = await denial(path, constants.R_OK | constants.X_OK);
  if (reading !== undefined) {
    const finding = problem('pull', `${path} cannot be read: ${reading}`, `give this user the right to read ${path}`);
    return { withoutIndex: 'the cache may not be read', findings: [finding] };
  }
  const writing = await denial(path, constants.W_OK);
  const fix = `only to publish: let this user write to ${path}`;
  const push =
    writing === undefined
      ? ok('push', 'this user may publish')
      : warning('push', `this user may not publish; reading needs no more: ${writing}`, fix);
  return { withoutIndex: undefined, findings: [ok('pull', `${path} may be read`), push] };
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Why no cache can be made at `path`, if there is none; undefined where a publish would make one. */
async function whatIsInTheWay(path: string): Promise<string | undefined> {
  let names: readonly string[];
  try {
    names = await readdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTDIR') return `${path} is no directory, or lies below a file`;
    if (code !== 'ENOENT') return `${path} cannot be read: ${ioReason(error)}`;
    return placeFor(path);
  }
  if (names.length === 0 || names.includes('oci-layout')) return undefined;
  return `${path} is a directory with other things in it, and no cache: publish would refuse it`;
}

/** Why `path`, which is not there, cannot be made. */
async function placeFor(path: string): Promise<string | undefined> {
  let parent = dirname(path);
  while (!(await exists(parent)) && parent !== dirname(parent)) parent = dirname(parent);
  const why = await denial(parent, constants.W_OK | constants.X_OK);
  return why && `${path} is not there, and this user may not make it: ${why}`;
}

/** Why `path` may not be used like that, or undefined if it may. */
const denial = (path: string, mode: number): Promise<string | undefined> =>
  access(path, mode).then(
    () => undefined,
    (error: unknown) => ioReason(error),
  );
