/** Which cache a request is for, where a server has several: by the beginning of its path. */
import { NO_STORE } from '../answer.ts';
import type { Measure, Measured } from '../measure.ts';
import { originForm } from '../request-path.ts';
import type { Handler } from './in-turn.ts';
import { REQUEST_ID, requestIdOf } from './request-id.ts';

/** The measure that names tokens. */
const TOKENS = 'token_requests_total';

interface Mount {
  readonly prefix: string;
  readonly answer: Handler;
  readonly measures: readonly Measure[];
}

/** From `first`, which is at the root, unless what is asked lies below the prefix of another; the longest counts. */
export function mounted(first: Mount, others: readonly Mount[]): Handler {
  if (others.length === 0) return first.answer;
  const byLength = others.toSorted((a, b) => b.prefix.length - a.prefix.length);
  return (request, response) => {
    const target = originForm(request.url ?? '');
    const [path = ''] = target.split('?', 1);
    if (byLength.some(({ prefix }) => prefix === path)) {
      // Relative, since a proxy before this may have taken off a part of what the client asked for.
      const location = `${path.slice(path.lastIndexOf('/') + 1)}/${target.slice(path.length)}`;
      const headers = ['Location', location, 'Cache-Control', NO_STORE, REQUEST_ID, requestIdOf(request.rawHeaders)];
      response.writeHead(308, [...headers, 'Content-Length', '0']).end();
      return;
    }
    const found = byLength.find(({ prefix }) => target.startsWith(prefix) && target[prefix.length] === '/');
    (found ?? first).answer(request, response);
  };
}

/**
 * What all of them measure, told apart by the label `cache` where there are several. The first tells of it: where everyone may
 * ask that, the names of the others' tokens are left out.
 */
export function measuresOfAll(
  mounts: readonly (Mount & { readonly isMeasuredForAdmins: boolean })[],
): readonly Measure[] {
  const [first] = mounts;
  if (first === undefined || mounts.length === 1) return first?.measures ?? [];
  return first.measures.map((measure) => ({
    ...measure,
    read: () =>
      mounts.flatMap((mount) => {
        if (measure.name === TOKENS && mount !== first && !first.isMeasuredForAdmins) return [];
        const { prefix, measures } = mount;
        return labelled(measures.find(({ name }) => name === measure.name)?.read(), prefix === '' ? '/' : prefix);
      }),
  }));
}

function labelled(read: ReturnType<Measure['read']>, cache: string): readonly Measured[] {
  if (read === undefined) return [];
  if (typeof read === 'number') return [{ labels: { cache }, value: read }];
  return read.map(({ labels, value }) => ({ labels: { cache, ...labels }, value }));
}
