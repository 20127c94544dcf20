import { describe, expect, it } from 'vitest';
import { publishTelling } from '../../../../src/cli/commands/publish/story.ts';
import { Story } from '../../../../src/cli/ui/story.ts';
import type { BuildEvent } from '../../../../src/nix-store/build-log.ts';
import type { PublishEvent } from '../../../../src/publish/events.ts';
import { keptOutput } from '../../streams.ts';

const drvPath = (name: string): string => `/nix/store/${'a'.repeat(32)}-${name}.drv`;

/** The lines that are on stderr after each of `events`. */
function told(
  events: readonly PublishEvent[],
  options: { readonly isTTY?: boolean; readonly quiet?: boolean } = {},
): string[] {
  const { isTTY = false, quiet = false } = options;
  const { output, stderr } = keptOutput({ isTTY, ...(isTTY ? { columns: 100 } : {}) });
  output.configure({ quiet });
  using story = new Story(output, publishTelling());
  for (const event of events) story.tell(event);
  return stderr.text.split('\n').filter((line) => line !== '');
}

const build = (event: BuildEvent): PublishEvent => ({ type: 'build', event });
const failed = (text: string): PublishEvent => build({ type: 'error', text });

describe('a build that fails', () => {
  // Without `error: `, as nix-store/build-log.ts gives them.
  it.each([
    ['2.8 says', `builder for '${drvPath('bad-1')}' failed with exit code 1`],
    ['2.34 says', `Cannot build '${drvPath('bad-1')}'.\n       Reason: builder failed with exit code 1.`],
    ['says of a timeout', `building of '${drvPath('bad-1')}^out' from .drv file timed out after 3 seconds`],
    [
      'says of another hash',
      `hash mismatch in fixed-output derivation '${drvPath('bad-1')}':\n  specified: sha256-AA=`,
    ],
    [
      'says of no output',
      `builder for '${drvPath('bad-1')}' failed to produce output path for output 'out' at '/nix/store/x'`,
    ],
    [
      'says of another system',
      `a 'aarch64-linux' with features {} is required to build '${drvPath('bad-1')}', but I am not`,
    ],
  ])('is named at once and once, as Nix %s', (_, text) => {
    const lines = told([
      { type: 'stage', stage: 'build' },
      build({ type: 'build-started', drvPath: drvPath('bad-1') }),
      failed(text),
      failed(text),
      build({ type: 'build-started', drvPath: drvPath('good-1') }),
    ]);
    expect(lines).toEqual(['building', 'building bad-1', 'failed: bad-1', 'building good-1']);
  });

  it('is named on a terminal too, and not when quiet', () => {
    const events = [failed(`builder for '${drvPath('bad-1')}' failed with exit code 1`)];
    expect(told(events, { isTTY: true })).toEqual(['failed: bad-1']);
    expect(told(events, { quiet: true })).toEqual([]);
  });

  it('is not what needs it, nor any error that names no build', () => {
    expect(
      told([
        failed(`1 dependencies of derivation '${drvPath('top-1')}' failed to build`),
        failed(`Cannot build '${drvPath('top-1')}'.\n       Reason: 1 dependency failed.`),
        failed(`build of '${drvPath('top-1')}^out', '${drvPath('bad-1')}^out' failed`),
        failed('cannot connect to the daemon'),
      ]),
    ).toEqual([]);
  });
});

describe('how many build at once', () => {
  it.each([
    [1, 'Nix builds one derivation at a time (max-jobs = 1; set max-jobs = auto in nix.conf for one a CPU)'],
    [4, 'Nix builds up to 4 derivations at once (max-jobs)'],
    ['auto', 'Nix builds up to one derivation a CPU at once (max-jobs)'],
    [undefined, 'Nix builds as many derivations at once as max-jobs in nix.conf says'],
  ] as const)('is said once something is built: %s', (jobs, line) => {
    const start = (name: string): PublishEvent => build({ type: 'build-started', drvPath: drvPath(name) });
    expect(told([{ type: 'building', jobs }])).toEqual([]);
    const lines = told([{ type: 'building', jobs }, start('a-1'), start('b-1')]);
    expect(lines).toEqual([line, 'building a-1', 'building b-1']);
  });
});

describe('the closure', () => {
  const closure = (paths: number, isPart: boolean): PublishEvent => ({
    type: 'closure',
    paths,
    narBytes: 2048,
    isPart,
  });
  const planned: PublishEvent = { type: 'planned', paths: 0, narBytes: 0 };

  it.each([
    ['of all', [closure(3, false), planned], ['closure: 3 paths, 2.0 KiB', 'to push: 0 paths, 0 B']],
    [
      'of some outputs',
      [closure(3, true), planned],
      ['closure of the outputs that the cache lacks: 3 paths, 2.0 KiB', 'to push: 0 paths, 0 B'],
    ],
    ['of none, since the cache has all', [closure(0, true), planned], []],
  ])('%s is said as what it is', (_, events, lines) => {
    expect(told(events)).toEqual(lines);
  });
});
