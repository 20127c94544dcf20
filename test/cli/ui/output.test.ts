import { constants } from 'node:fs';
import { mkdtemp, open, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Progress } from '../../../src/cli/ui/progress.ts';
import { cutSummary, formatOutputs, formatWorkflowCommand } from '../../../src/github/actions.ts';
import { githubSource } from '../../../src/github/source.ts';
import { generateKey } from '../../../src/nix/signature.ts';
import { placeOddFile } from '../../support/odd-files.ts';
import { tempDir } from '../../support/temp-dir.ts';
import { keptOutput } from '../streams.ts';

describe('stdout and stderr', () => {
  it('carry the result and the story, each alone', () => {
    const { output, stdout, stderr } = keptOutput();
    output.info('story');
    output.result({ a: 1 }, () => 'result');
    expect([stdout.text, stderr.text]).toEqual(['result\n', 'story\n']);
  });

  it('carry one line of JSON with --json', () => {
    const { output, stdout } = keptOutput();
    output.configure({ json: true });
    output.result({ text: 'two\nlines' }, () => 'result');
    expect(stdout.text).toBe('{"text":"two\\nlines"}\n');
  });

  it('hold what the level lets through', () => {
    const heard = [{ quiet: true }, {}, { verbose: true }].map((flags) => {
      const { output, stderr } = keptOutput();
      output.configure(flags);
      output.detail('detail');
      output.info('info');
      output.warn('warn');
      output.error('error', ['hint']);
      return stderr.text;
    });
    const always = 'warning: warn\nnixcache: error\n  hint\n';
    expect(heard).toEqual([always, `info\n${always}`, `detail\ninfo\n${always}`]);
  });
});

describe('a log for programs', () => {
  it('has a record in JSON on each line, with what is known beside the words', () => {
    const { output, stderr, stdout } = keptOutput();
    output.configure({ verbose: true });
    output.logAsJson();
    output.detail('more');
    output.info('said', { event: 'x', count: 1, none: undefined });
    output.warn('odd', ['line 1', 'line 2']);
    output.error('wrong', ['hint']);
    output.result({}, () => 'result');
    const records = stderr.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect(records).toEqual([
      { time, level: 'debug', msg: 'more' },
      { time, level: 'info', msg: 'said', event: 'x', count: 1 },
      { time, level: 'warn', msg: 'odd\nline 1\nline 2' },
      { time, level: 'error', msg: 'wrong\nhint' },
    ]);
    expect(stdout.text).toBe('result\n');
  });

  it('holds what was sent to break it, and no secret', () => {
    const { output, stderr } = keptOutput();
    output.logAsJson();
    output.addSecret('s3cret-6f1ed002ab');
    const hostile =
      'GET /?token=abc"}\n{"level":"error"} \u001b[2J\u2028\u009b ::error:: s3cret-6f1ed002ab http://a:pw@x';
    output.warn(hostile, [], { path: hostile, long: 'x'.repeat(100_000) });
    const lines = stderr.text.trimEnd().split('\n');
    expect(lines).toHaveLength(1);
    const record = JSON.parse(lines[0] ?? '');
    expect(record.long).toHaveLength(4097);
    expect(stderr.text).not.toMatch(/s3cret|abc|:pw@/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: -- they are what must not be there
    expect(stderr.text.trimEnd()).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028]/);
  });
});

describe('colour', () => {
  const coloured = (env: Readonly<Record<string, string>>, isTTY: boolean): boolean => {
    const { output, stderr } = keptOutput({ env, isTTY });
    output.warn('x');
    return stderr.text.includes('\u001b[');
  };

  it('is for terminals', () => {
    expect([coloured({}, true), coloured({}, false)]).toEqual([true, false]);
  });

  it('marks what nobody should overlook in a result, where there is a terminal', () => {
    const shown = (env: Readonly<Record<string, string>>, isTTY: boolean): string => {
      const { output, stdout } = keptOutput({ env, isTTY });
      output.line('PROBLEM index   it is gone');
      output.result({}, () => 'damage: blob-missing (1)\n  damage control');
      return stdout.text;
    };
    const plain = 'PROBLEM index   it is gone\ndamage: blob-missing (1)\n  damage control\n';
    expect(shown({}, true)).toBe(
      '\u001b[31mPROBLEM\u001b[39m index   it is gone\n\u001b[31mdamage\u001b[39m: blob-missing (1)\n  damage control\n',
    );
    expect([shown({}, false), shown({ NO_COLOR: '1' }, true)]).toEqual([plain, plain]);
  });

  it('is off with NO_COLOR, unless that is empty, and on terminals that have none', () => {
    expect(coloured({ NO_COLOR: '1' }, true)).toBe(false);
    expect(coloured({ NO_COLOR: '' }, true)).toBe(true);
    expect(coloured({ TERM: 'dumb' }, true)).toBe(false);
  });
});

describe('annotations', () => {
  const GITHUB = { env: { GITHUB_ACTIONS: 'true' } };

  it('are ten of a kind at most; the log has the others', () => {
    const { output, stderr } = keptOutput(GITHUB);
    for (let i = 1; i <= 12; i++) output.warn(`warning ${i}`);
    output.error('error 1');
    expect(stderr.text.match(/^::warning/gm)?.length).toBe(10);
    expect(stderr.text).toContain('\nwarning: warning 11\nwarning: warning 12\n::error title=nixcache::error 1\n');
  });

  it('have the end of a log in them, on one line', () => {
    const { output, stderr } = keptOutput(GITHUB);
    output.warn('it failed', ['100%', '::error::hostile']);
    expect(stderr.text).toBe('::warning title=nixcache::it failed%0A100%25%0A::error::hostile\n');
  });

  it('of what the result says are for GitHub alone', () => {
    const { output, stderr } = keptOutput();
    output.annotate('error', 'damage');
    expect(stderr.text).toBe('');
  });
});

describe('a secret', () => {
  const written = (secret: string, text: string): string => {
    const { output, stdout, stderr } = keptOutput();
    output.addSecret(secret);
    output.result({ text }, () => text);
    output.configure({ json: true, verbose: true });
    output.result({ text }, () => text);
    output.info(text);
    output.detail(text);
    output.warn(text);
    output.group(text);
    output.startProgress(text).done();
    output.error(text, [text]);
    return stdout.text + stderr.text;
  };

  it('is written nowhere', () => {
    expect(written('hunter22', 'it is hunter22!')).not.toContain('hunter22');
    expect(written('hunter22', 'it is hunter22!')).toContain('it is ***!');
  });

  it('is not written in its other forms either', () => {
    const all = written('p"a/s s\n', 'p"a/s s, p%22a%2Fs%20s, p\\"a/s s');
    for (const form of ['p"a/s', 'p%22a', 'p\\"a']) expect(all).not.toContain(form);
  });

  it('that is a key is not written without its name', () => {
    const { secret } = generateKey('a-1');
    expect(written(secret, `base64 ${secret.slice(4)}`)).not.toContain(secret.slice(4));
  });

  it('within another is no way to see the rest of that', () => {
    const { output, stderr } = keptOutput();
    output.addSecret('abcd');
    output.addSecret('abcdefgh');
    output.info('abcdefgh');
    expect(stderr.text).toBe('***\n');
  });

  it('leaves JSON whole: a number that is a password too stays one', () => {
    const { output, stdout } = keptOutput();
    output.configure({ json: true });
    for (const secret of ['87654321', 'S3cr3t!","x', 'hunter22']) output.addSecret(secret);
    output.result({ bytes: 87654321, hunter22: ['a S3cr3t!","x', null] }, () => '');
    expect(stdout.text).toBe('{"bytes":87654321,"***":["a ***",null]}\n');
  });

  it('too short to be one changes nothing', () => {
    expect(written('a', 'a banana')).toContain('a banana');
    expect(written('', 'a banana')).toContain('a banana');
  });
});

describe('in GitHub Actions', () => {
  const env = { GITHUB_ACTIONS: 'true' };

  it('groups fold, and messages are annotations on one line', () => {
    const { output, stderr } = keptOutput({ env });
    output.group('one: 100%');
    output.endGroup();
    output.warn('a\nb');
    output.error('c', ['d']);
    expect(stderr.text).toBe(
      '::group::one: 100%25\n::endgroup::\n::warning title=nixcache::a%0Ab\n::error title=nixcache::c%0Ad\n',
    );
  });

  it('properties of commands are escaped further', () => {
    expect(formatWorkflowCommand('notice', 'm', { title: 'a:b,c\r' })).toBe('::notice title=a%3Ab%2Cc%0D::m');
  });

  it('outputs may have several lines, and cannot end themselves', () => {
    expect(formatOutputs({ a: 'x\ny', b: '' }, 'END')).toBe('a<<END\nx\ny\nEND\nb<<END\n\nEND\n');
    expect(() => formatOutputs({ a: 'x\nEND\nb=1' }, 'END')).toThrow();
    expect(formatOutputs({ a: '' })).not.toBe(formatOutputs({ a: '' }));
  });

  it('a summary that is too long is cut at a line', () => {
    const cut = cutSummary('é line\n'.repeat(300_000));
    expect(Buffer.byteLength(cut)).toBeLessThan(1024 * 1024);
    expect(cut).toMatch(/é line\n\n… and more; the log has all of it\.\n$/);
    expect(cutSummary('short')).toBe('short');
  });

  it('the files get outputs and summary, without secrets', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'nixcache-github-'));
    const files = { GITHUB_OUTPUT: join(directory, 'output'), GITHUB_STEP_SUMMARY: join(directory, 'summary') };
    const { output } = keptOutput({ env: { ...env, ...files } });
    output.addSecret('hunter22');
    await output.stepOutputs({ a: 'hunter22' });
    await output.stepSummary('# hunter22');
    await output.stepSummary('more');
    expect(await readFile(files.GITHUB_OUTPUT, 'utf8')).toMatch(/^a<<(\S+)\n\*\*\*\n\1\n$/);
    expect(await readFile(files.GITHUB_STEP_SUMMARY, 'utf8')).toBe('# ***\nmore\n');
    await rm(directory, { recursive: true });
  });

  it.each([
    ['GITHUB_OUTPUT', 'pipe'],
    ['GITHUB_STEP_SUMMARY', 'pipe'],
    ['GITHUB_OUTPUT', 'pipe with a reader'],
    ['GITHUB_STEP_SUMMARY', 'endless device'],
    ['GITHUB_OUTPUT', 'socket'],
    ['GITHUB_OUTPUT', 'directory'],
    ['GITHUB_STEP_SUMMARY', 'directory'],
    ['GITHUB_STEP_SUMMARY', 'full device'],
    ['GITHUB_OUTPUT', 'file in no directory'],
  ] as const)('%s that is a %s is warned of, and waited for never', async (name, kind) => {
    const file = join(await tempDir(), ...(kind === 'file in no directory' ? ['none', 'file'] : ['file']));
    if (kind === 'full device') await symlink('/dev/full', file);
    else if (kind === 'pipe with a reader') await placeOddFile(file, 'pipe');
    else if (kind !== 'file in no directory') await placeOddFile(file, kind);
    const reader =
      kind === 'pipe with a reader' ? await open(file, constants.O_RDONLY | constants.O_NONBLOCK) : undefined;
    const { output, stderr } = keptOutput({ env: { ...env, [name]: file } });
    await output.stepOutputs({ a: 'x' });
    await output.stepSummary('# x');
    await reader?.close();
    const loss = name === 'GITHUB_OUTPUT' ? "later steps do not get this step's outputs" : "this step's summary";
    expect(stderr.text).toMatch(/^::warning title=nixcache::[^\n]*\n$/);
    expect(stderr.text).toContain(loss);
    expect(stderr.text).toContain(file);
  });

  it('the flake of the repository is named as everyone can reach it', () => {
    const job = { ...env, GITHUB_REPOSITORY: 'o/r' };
    expect(githubSource({}, '.')).toBeUndefined();
    expect(githubSource(job, '.')).toEqual({ sourceName: 'github:o/r', sourceUrl: 'https://github.com/o/r' });
    expect(githubSource(job, './config')?.sourceName).toBe('github:o/r?dir=config');
    expect(githubSource(job, 'github:x/y')?.sourceName).toBeUndefined();
    expect(githubSource({ ...job, GITHUB_SERVER_URL: 'https://git.example' }, '.')?.sourceName).toBe(
      'git+https://git.example/o/r',
    );
  });
});

describe('progress', () => {
  it('on a terminal is drawn below the story, and leaves its last line there', () => {
    const { output, stderr } = keptOutput({ isTTY: true, columns: 40 });
    const task = output.startProgress('push', { totalItems: 2 });
    output.info('story');
    task.advance({ items: 2 });
    task.done();
    task.done();
    const erase = '<up 1>\r<erase>';
    expect(stderr.text.replaceAll('\u001b[1A', '<up 1>').replaceAll('\u001b[J', '<erase>')).toMatch(
      new RegExp(`^push {2}\\[ +\\] {2}0% {2}0/2 paths\n${erase}story\npush .*\n${erase}push: 2 paths in 0.\\d s\n$`),
    );
  });

  it('in CI and in pipes is plain lines', () => {
    for (const options of [{ isTTY: true, env: { CI: 'true' } }, { isTTY: true, env: { TERM: 'dumb' } }, {}]) {
      const { output, stderr } = keptOutput(options);
      output.startProgress('push').done();
      expect(stderr.text).toMatch(/^push: 0 paths in 0\.\d s\n$/);
    }
  });

  it('that fails leaves the word to the error', () => {
    const { output, stderr } = keptOutput();
    output.startProgress('push').drop();
    expect(stderr.text).toBe('');
  });

  it('beats in a log while it lasts', () => {
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const lines: string[] = [];
    const surface = {
      mode: 'live' as const,
      width: 40,
      drawLive: (drawn: readonly string[]) => lines.push(...drawn),
      story: () => {},
    };
    const progress = new Progress(surface);
    const task = progress.start('push', { totalItems: 4 });
    task.advance({ items: 2 });
    vi.advanceTimersByTime(250);
    progress.close();
    const drawn = lines.length;
    expect(lines.at(-1)).toContain('50%');
    vi.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(drawn);
  });
});
