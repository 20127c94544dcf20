import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type BuildEvent, BuildLog } from '../../src/nix-store/build-log.ts';

const BAD = '/nix/store/0x7fcgigi8sgjivxv5k1lx6daqnpjk2w-bad.drv';
const APP = '/nix/store/xvdshs5cv9fm4i41cw09sjmzgl1x0cma-app.drv';
const LIB = '/nix/store/ss208ak9ay8yfqvsw7k9hgnq2a6cixkr-lib.drv';

describe.each(['2.8.0', '2.26.3', '2.34.8'])('a build by Nix %s', (version) => {
  const events: BuildEvent[] = [];
  const log = new BuildLog((event) => events.push(event));
  const lines = readFileSync(join(import.meta.dirname, 'golden', `build-${version}.txt`), 'utf8')
    .trim()
    .split('\n');
  const areStructured = lines.map((line) => log.read(line));

  it('is structured in every line', () => {
    expect(areStructured).not.toContain(false);
  });

  it('tells what was started, and not what was not', () => {
    expect(log.started.toSorted()).toEqual([BAD, LIB, APP].toSorted());
  });

  it('tells when each build began, what it said and when it ended', () => {
    const about = events.filter((event) => 'drvPath' in event && event.drvPath === BAD);
    expect(about).toEqual([
      { type: 'build-started', drvPath: BAD },
      { type: 'build-line', drvPath: BAD, line: 'building bad' },
      { type: 'build-line', drvPath: BAD, line: 'oh no' },
      { type: 'build-stopped', drvPath: BAD },
    ]);
    expect(log.tailOf(BAD)).toEqual(['building bad', 'oh no']);
  });

  it('tells the errors without colours, on one line', () => {
    expect(log.errors.some((text) => text.includes(BAD) && text.includes('exit code 3'))).toBe(true);
    for (const text of log.errors) expect(text).toMatch(/^[ -~]+$/);
  });

  it('counts builds', () => {
    const last = events.findLast((event) => event.type === 'progress');
    expect(last).toMatchObject({ done: 2, running: 0 });
  });
});

it('keeps apart ids that no double can hold', () => {
  const log = new BuildLog();
  log.read(
    '@nix {"action":"start","id":9223372036854775806,"level":3,"type":105,"fields":["/a.drv","",1,1],"text":""}',
  );
  log.read(
    '@nix {"action":"start","id":9223372036854775807,"level":3,"type":105,"fields":["/b.drv","",1,1],"text":""}',
  );
  log.read('@nix {"action":"result","id":9223372036854775806,"type":101,"fields":["from a"]}');
  log.read('@nix {"action":"result","id":9223372036854775807,"type":101,"fields":["from b"]}');
  expect(log.tailOf('/a.drv')).toEqual(['from a']);
  expect(log.tailOf('/b.drv')).toEqual(['from b']);
});

it('tells of substitutions', () => {
  const events: BuildEvent[] = [];
  const log = new BuildLog((event) => events.push(event));
  log.read('@nix {"action":"start","id":1,"level":3,"type":108,"fields":["/p","http://cache"],"text":""}');
  log.read('@nix {"action":"stop","id":1}');
  expect(events).toEqual([
    { type: 'fetch-started', path: '/p', from: 'http://cache' },
    { type: 'fetch-stopped', path: '/p', from: 'http://cache' },
  ]);
});

it('keeps the end of a long log only', () => {
  const log = new BuildLog();
  log.read('@nix {"action":"start","id":1,"level":3,"type":105,"fields":["/a.drv","",1,1],"text":""}');
  for (let i = 0; i < 1000; i++) log.read(`@nix {"action":"result","id":1,"type":101,"fields":["line ${i}"]}`);
  expect(log.tailOf('/a.drv')).toHaveLength(25);
  expect(log.tailOf('/a.drv').at(-1)).toBe('line 999');
});

it.each(['@nix {"action":"start","id":', '@nix 42', '@nix {"action":"dance"}'])('outlives %s', (line) => {
  const log = new BuildLog();
  expect(log.read(line)).toBe(true);
  expect(log.started).toEqual([]);
});

it('leaves other lines to others', () => {
  expect(new BuildLog().read('warning: something')).toBe(false);
});
