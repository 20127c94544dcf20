/** A cache on disk: is it there, and may we write to it? */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../errors.ts';
import type { LayoutReference } from '../oci/reference.ts';
import type { StoreFindings } from './check-registry.ts';
import { ok, problem, warning } from './finding.ts';

export async function checkLayout({ path }: LayoutReference): Promise<StoreFindings> {
  const isThere = await stat(join(path, 'oci-layout')).then(
    () => true,
    () => false,
  );
  if (!isThere) {
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

/** Why `path` may not be used like that, or undefined if it may. */
const denial = (path: string, mode: number): Promise<string | undefined> =>
  access(path, mode).then(
    () => undefined,
    (error: unknown) => messageOf(error),
  );
