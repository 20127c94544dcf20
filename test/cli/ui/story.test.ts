import { describe, expect, it } from 'vitest';
import { GC_TELLING } from '../../../src/cli/commands/gc/run.ts';
import { publishTelling } from '../../../src/cli/commands/publish/story.ts';
import { Story } from '../../../src/cli/ui/story.ts';
import type { PublishEvent } from '../../../src/publish/events.ts';
import { keptOutput } from '../streams.ts';

const EVENTS: readonly PublishEvent[] = [
  { type: 'stage', stage: 'diff' },
  { type: 'upstream-asked', done: 1, total: 2 },
  { type: 'upstream-asked', done: 2, total: 2 },
  { type: 'planned', paths: 2, narBytes: 2048 },
  { type: 'stage', stage: 'push' },
  { type: 'nar-read', bytes: 2048 },
  { type: 'path-done', path: '/nix/store/a' },
  { type: 'path-done', path: '/nix/store/b' },
  { type: 'stage', stage: 'commit' },
  { type: 'committed', tag: 'seg-1', entries: 1 },
  { type: 'warning', message: 'mind the gap' },
];

function tellAll(options: { env?: Record<string, string>; verbose?: boolean; quiet?: boolean; json?: boolean } = {}) {
  const { env = {}, ...level } = options;
  const kept = keptOutput({ env });
  kept.output.configure(level);
  {
    using story = new Story(kept.output, publishTelling());
    for (const event of EVENTS) story.tell(event);
    story.end();
  }
  return { stdout: kept.stdout.text, stderr: kept.stderr.text.replaceAll(/ in \d.*$/gm, ' in T') };
}

describe('a story', () => {
  it('in a pipe is lines on stderr, headings and work done among them', () => {
    expect(tellAll()).toEqual({
      stdout: '',
      stderr: [
        'asking what is there already',
        'to push: 2 paths, 2.0 KiB',
        'upstream: 2 paths in T',
        'pushing',
        'push: 2 paths, 2.0 KiB in T',
        'committing',
        'warning: mind the gap',
        '',
      ].join('\n'),
    });
  });

  it('in GitHub Actions folds each stage, and ends each fold before the next', () => {
    const commands = tellAll({ env: { GITHUB_ACTIONS: 'true' } })
      .stderr.split('\n')
      .filter((line) => line.startsWith('::'));
    expect(commands).toEqual([
      '::group::asking what is there already',
      '::endgroup::',
      '::group::pushing',
      '::endgroup::',
      '::group::committing',
      '::warning title=nixcache::mind the gap',
      '::endgroup::',
    ]);
  });

  it('tells more when verbose, warnings alone when quiet, and nothing on stdout with --json', () => {
    expect(tellAll({ verbose: true }).stderr).toContain('\npushed /nix/store/a\n');
    expect(tellAll({ quiet: true })).toEqual({ stdout: '', stderr: 'warning: mind the gap\n' });
    expect(tellAll({ json: true })).toEqual(tellAll());
  });

  it('that breaks off ends its fold, and leaves work that is not done without a word', () => {
    const { output, stderr } = keptOutput({ env: { GITHUB_ACTIONS: 'true' } });
    const interrupted = (): void => {
      using story = new Story(output, publishTelling());
      for (const event of EVENTS.slice(0, 6)) story.tell(event);
      throw new Error('cut off');
    };
    expect(interrupted).toThrow('cut off');
    expect(stderr.text).not.toMatch(/^push:/m);
    expect(stderr.text).toMatch(/::endgroup::\n$/);
  });

  it('draws one task for many events of a kind', () => {
    const { output, stderr } = keptOutput();
    using story = new Story(output, GC_TELLING);
    story.tell({ type: 'stage', stage: 'read' });
    for (const done of [1, 2, 3]) story.tell({ type: 'segment-read', done, total: 3 });
    story.tell({ type: 'stage', stage: 'plan' });
    expect(stderr.text).toMatch(/^reading the cache\nread: 3 segments in .*\nplanning\n$/);
  });
});
