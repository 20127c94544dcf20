import { expect, it } from 'vitest';
import {
  formatMarkdown,
  formatSummary,
  type PublishReport,
  publishJson,
  stepOutputs,
} from '../../../../src/cli/commands/publish/summary.ts';
import { NixcacheError } from '../../../../src/errors.ts';
import { toStorePath } from '../../../../src/nix/store-path.ts';
import type { PublishPathsResult } from '../../../../src/publish/publish-paths.ts';
import type { PushOutcome } from '../../../../src/publish/push-paths.ts';
import { baseNameFor } from '../../../support/cache-builder.ts';
import { entryOf } from '../../../support/gc-inputs.ts';

const pathOf = (name: string): string => toStorePath(baseNameFor(name));
const info = (name: string) => entryOf({ name }).narInfo;

/** A publish that pushed `app`, and found `lib` in the cache. */
function reportOf(outcome: Partial<PushOutcome> | undefined, changes: Partial<PublishReport> = {}): PublishReport {
  const plan = { push: [info('app')], cached: [info('lib')], sign: [], upstream: [], excluded: [], unknown: [] };
  const pushed = { pushed: [info('app')], failed: new Map(), segments: [], uploadedBytes: 0, existedBytes: 0 };
  const published = { plan, asserted: 0, signed: [], unsigned: [], outcome: outcome && { ...pushed, ...outcome } };
  return {
    ...{ cache: 'registry.example/a', dryRun: outcome === undefined, publicKeys: ['a-1:x'], durationMs: 1000.4 },
    published: published as unknown as PublishPathsResult,
    ...changes,
  };
}

const failed = new Map([[baseNameFor('app'), 'its NAR <img src=x> | changed']]);
const stopped = { missing: [info('app')], isInterrupted: false, cause: new NixcacheError('ERR_NETWORK', 'refused') };

it('what is told in the end names what was not published, and how to use what was', () => {
  expect(formatSummary(reportOf({})).at(-1)).toBe('use it: nixcache serve --from registry.example/a');
  const lines = formatSummary(reportOf({ pushed: [], failed } as never));
  expect(lines).toContain(`not published: ${baseNameFor('app')}: its NAR <img src=x> | changed`);
});

it('what was stopped is not said to be of use, and is counted as missing', () => {
  const report = reportOf({ pushed: [], stopped } as never);
  expect(formatSummary(report).join('\n')).not.toContain('use it');
  expect(publishJson(report)).toMatchObject({ notPushed: [pathOf('app')], interrupted: false, error: {} });
  expect(formatMarkdown(report)).toContain('**Failed half-way**');
});

it('where nothing of it is in the cache, it is not said to be published, nor how to use it', () => {
  const outcomes = [{ pushed: [], failed }, { pushed: [], stopped }, { pushed: [] }];
  for (const outcome of outcomes) {
    const report = reportOf(outcome as never);
    const none = { ...report, published: { ...report.published, plan: { ...report.published.plan, cached: [] } } };
    const text = formatSummary(none).join('\n');
    expect(text).toContain('nothing was published to registry.example/a');
    expect(text).not.toMatch(/use it|published 0/);
    expect(formatMarkdown(none)).not.toContain('nixcache serve');
  }
});

it('who has what need not be pushed is said', () => {
  const report = reportOf({ pushed: [] });
  const plan = { ...report.published.plan, push: [], cached: [], upstream: [info('lib')] };
  const lines = formatSummary({ ...report, published: { ...report.published, plan } });
  expect(lines[0]).toContain('nothing to push: upstream has all of it');
});

it('a dry run publishes nothing, and says so everywhere', () => {
  const report = reportOf(undefined);
  expect(formatSummary(report)).toEqual(['dry run: nothing was published']);
  expect(formatMarkdown(report)).toMatch(
    /^### nixcache: registry\.example\/a \(dry run\)\n[\s\S]*\| would be pushed \| 1 \|/,
  );
  expect(stepOutputs(report)).toMatchObject({ pushed: '0', 'failed-paths': '0', skipped: '1' });
  const json = publishJson(report);
  expect(json).toMatchObject({ dryRun: true, push: { paths: [pathOf('app')] }, cached: { paths: [pathOf('lib')] } });
  expect(Object.keys(json)).not.toContain('pushed');
});

it('the page of the job warns of a publish that nobody signs, and of no other', () => {
  expect(formatMarkdown(reportOf({}, { publicKeys: [] }))).toContain('**unsigned**');
  expect(formatMarkdown(reportOf({}))).not.toContain('unsigned');
  expect(formatMarkdown(reportOf({}))).toContain('extra-trusted-public-keys = a-1:x\n');
});

it('the page of the job shows no markup of strangers', () => {
  expect(formatMarkdown(reportOf({ failed }))).not.toMatch(/(?<!\\)<img/);
});

it('later steps of a job and scripts get numbers', () => {
  const report = reportOf({ failed, uploadedBytes: 1234 } as never, { publicKeys: ['a-1:x', 'b-1:y'] });
  expect(stepOutputs(report)).toEqual({
    ...{ cache: 'registry.example/a', pushed: '1', signed: '0', 'failed-paths': '1', skipped: '1' },
    ...{ 'uploaded-bytes': '1234', 'public-keys': 'a-1:x b-1:y' },
  });
  expect(publishJson(report)).toMatchObject({ uploadedBytes: 1234, durationMs: 1000 });
});
