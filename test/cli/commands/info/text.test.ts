import { describe, expect, it } from 'vitest';
import type { PathReport } from '../../../../src/catalog/path-report.ts';
import { formatPathReport, pathJson } from '../../../../src/cli/commands/info/text.ts';
import { toStorePath } from '../../../../src/nix/store-path.ts';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { entryOf, rootOf, seconds } from '../../../support/gc-inputs.ts';
import { day } from '../../../support/gc-runs.ts';

const reportOf = (changes: Partial<PathReport> = {}): PathReport => ({
  ...{ entry: entryOf({ name: 'app', references: ['lib'] }), narInfoText: 'text', segment: 'seg-1', asserted: day(0) },
  ...{ signatures: [], dependents: [], roots: [], pins: [], gc: { verdict: 'dropped' } },
  closure: { paths: 2, narBytes: 2000, fileBytes: 1000, missing: [], leftOut: 0 },
  ...changes,
});

const format = (changes?: Partial<PathReport>): string =>
  formatPathReport(reportOf(changes), { retain: '30d', width: undefined });

/** The line of a field, without its title. */
const field = (title: string, changes?: Partial<PathReport>): string | undefined =>
  new RegExp(`^  ${title} +(.*)$`, 'm').exec(format(changes))?.[1];

describe('a path, for people', () => {
  it('begins with its store path', () => {
    expect(format().split('\n')[0]).toBe(toStorePath(baseNameFor('app')));
  });

  it('shouts when a signature is wrong, and says whose key nobody named', () => {
    const text = format({
      signatures: [
        { keyName: 'good-1', verdict: 'valid' },
        { keyName: 'bad-1', verdict: 'invalid' },
        { keyName: 'new-1', verdict: 'unknown-key' },
      ],
    });
    expect(text).toMatch(/good-1\n.*bad-1: THE SIGNATURE IS WRONG\n.*new-1, whose public key no publisher named\n/);
    expect(field('signed by')).toBe('nobody');
  });

  it('shows no more of a long list than a screen holds, and how many there are besides', () => {
    const dependents = Array.from({ length: 1000 }, (_, i) => baseNameFor(`user-${i}`));
    const text = format({ dependents });
    expect(text.match(/-user-/g)).toHaveLength(19);
    expect(text).toContain('and 981 more; --json has them all');
    expect(format({ dependents: dependents.slice(0, 20) }).match(/-user-/g)).toHaveLength(20);
  });

  it('says what of the closure this cache lacks', () => {
    const closure = { paths: 2, narBytes: 2000, fileBytes: 1000, missing: ['x', 'y'] as never[], leftOut: 1 };
    expect(field('closure', { closure })).toMatch(
      /^2 paths, .*; 2 paths of it not in this cache \(1 left out on purpose\)$/,
    );
    expect(field('closure')).not.toContain('not in this cache');
  });

  it('tells current roots from earlier ones', () => {
    const roots = [
      { root: rootOf('now', 5), isCurrent: true },
      { root: rootOf('before', 1), isCurrent: false },
    ];
    expect(format({ roots })).toMatch(/now, published 2026-01-06.*\n.*before, last published 2026-01-02/);
  });

  it.each([
    [{ kind: 'pinned', name: 'stable' }, 'is pinned as stable'],
    [{ kind: 'newest-publish', name: 'app', time: seconds(1) }, 'is app of the newest publish, 2026-01-02'],
    [{ kind: 'published', name: 'app', time: seconds(1) }, 'was published as app on 2026-01-02'],
    [{ kind: 'keep-last', name: 'app', time: seconds(1) }, 'is one of the last publishes of app, 2026-01-02'],
    [{ kind: 'pushed' }, 'was pushed within 30d'],
  ] as const)('says why gc keeps it: %j', (reason, why) => {
    const through = (name: string) => ({ gc: { verdict: 'kept', reason, through: baseNameFor(name) } }) as const;
    expect(field('gc', through('app'))).toContain(`keeps it, since it ${why}`);
    expect(field('gc', through('user'))).toContain(`keeps it, since ${baseNameFor('user')} ${why}`);
  });

  it('says what gc would do, or that it could not', () => {
    expect(field('gc')).toBe('would drop it with --retain 30d: nothing that is kept needs it');
    expect(field('gc', { gc: { verdict: 'unknown', why: 'segment x is damaged' } })).toBe('segment x is damaged');
  });
});

it('a path, as JSON, has every path whole', () => {
  const gc = { verdict: 'kept', reason: { kind: 'pushed' }, through: baseNameFor('app') } as const;
  const dependents = [baseNameFor('user')];
  expect(pathJson(reportOf({ gc, dependents }))).toMatchObject({
    path: toStorePath(baseNameFor('app')),
    references: [toStorePath(baseNameFor('lib'))],
    dependents: [toStorePath(baseNameFor('user'))],
    gc: { verdict: 'kept', through: toStorePath(baseNameFor('app')) },
  });
});
