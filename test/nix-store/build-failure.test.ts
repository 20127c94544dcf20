import { expect, it } from 'vitest';
import { parseHash } from '../../src/nix/hash.ts';
import type { PathInfo } from '../../src/nix/path-info.ts';
import { parseBaseName, parseStorePath, type StorePath } from '../../src/nix/store-path.ts';
import { explainFailures } from '../../src/nix-store/build-failure.ts';
import { BuildLog } from '../../src/nix-store/build-log.ts';

const drv = (letter: string): StorePath => parseStorePath(`/nix/store/${letter.repeat(32)}-${letter}.drv`);
const target = (letter: string) => ({ drvPath: drv(letter), outputs: {} });

/** `{a: 'bc'}`: a needs b and c. */
const closureOf = (graph: Readonly<Record<string, string>>): readonly PathInfo[] =>
  Object.entries(graph).map(([letter, needs]) => ({
    path: drv(letter),
    narHash: parseHash(`sha256:${'0'.repeat(64)}`),
    narSize: 0,
    references: [...needs].map((need) => parseBaseName(`${need.repeat(32)}-${need}.drv`)),
    sigs: [],
  }));

const logOf = (started: string, ...errors: readonly string[]): BuildLog => {
  const log = new BuildLog();
  for (const [id, letter] of [...started].entries()) {
    log.read(`@nix ${JSON.stringify({ action: 'start', id, type: 105, fields: [drv(letter)] })}`);
    log.read(`@nix ${JSON.stringify({ action: 'result', id, type: 101, fields: [`${letter} says so`] })}`);
  }
  for (const msg of errors) log.read(`@nix ${JSON.stringify({ action: 'msg', level: 0, msg })}`);
  return log;
};

it('tells a failure of one’s own, with the end of the log', () => {
  const log = logOf('a', `builder for '${drv('a')}' failed`);
  expect(explainFailures([target('a')], closureOf({ a: '' }), log)).toEqual([
    { drvPath: drv('a'), reason: 'failed', error: `builder for '${drv('a')}' failed`, logTail: ['a says so'] },
  ]);
});

it('names what failed below, however deep, and shows its log', () => {
  const log = logOf('c', `builder for '${drv('c')}' failed`, `1 dependencies of '${drv('b')}' failed`);
  const [failure, ...others] = explainFailures([target('a')], closureOf({ a: 'b', b: 'c', c: '' }), log);
  expect(others).toEqual([]);
  expect(failure).toMatchObject({ reason: 'dependency', culprit: drv('c'), logTail: ['c says so'] });
});

it('tells what could not be started', () => {
  const log = logOf('', `a 'aarch64-linux' is required to build '${drv('a')}'`);
  expect(explainFailures([target('a')], closureOf({ a: '' }), log)).toMatchObject([
    { reason: 'unbuildable', logTail: [] },
  ]);
});

it('leaves out what was not attempted, and what was cut off by the failure of another', () => {
  const log = logOf('b', `a 'aarch64-linux' is required to build '${drv('a')}'`);
  const targets = [target('a'), target('b'), target('d')];
  const found = explainFailures(targets, closureOf({ a: '', b: '', d: '' }), log);
  expect(found.map(({ drvPath }) => drvPath)).toEqual([drv('a')]);
});

it('does not blame a dependency that two failing targets share and that was built', () => {
  const log = logOf('abd', `builder for '${drv('a')}' failed`, `builder for '${drv('b')}' failed`);
  const found = explainFailures([target('a'), target('b')], closureOf({ a: 'd', b: 'd', d: '' }), log);
  expect(found.map(({ reason }) => reason)).toEqual(['failed', 'failed']);
});

it('reads the errors once, however large the closure', () => {
  let reads = 0;
  class WatchedLog extends BuildLog {
    override get errors(): readonly string[] {
      reads++;
      return super.errors;
    }
  }
  const log = new WatchedLog();
  log.read(`@nix ${JSON.stringify({ action: 'msg', level: 0, msg: `builder for '${drv('z')}' failed` })}`);
  const letters = [...'abcdfghijklmnpqrsvwxy'];
  const graph = Object.fromEntries([...letters.map((letter) => [letter, 'z']), ['z', '']]);
  const found = explainFailures(letters.map(target), closureOf(graph), log);
  expect(found.map(({ culprit }) => culprit)).toEqual(letters.map(() => drv('z')));
  expect(reads).toBe(1);
});
