import { describe, expect, it } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-codes.ts';
import { reportFailure } from '../../src/cli/failure.ts';
import type { Output } from '../../src/cli/ui/output.ts';
import { NixcacheError } from '../../src/errors.ts';
import { keptOutput } from './streams.ts';

function report(error: unknown, options: { verbose?: boolean; aborted?: boolean } = {}) {
  const { output, stderr } = keptOutput();
  output.configure(options);
  const signal = options.aborted ? AbortSignal.abort() : new AbortController().signal;
  return { exitCode: reportFailure(error, { output, signal, software: 'nixcache 1' }), text: stderr.text };
}

describe('what the user reads of', () => {
  const failure = new NixcacheError('ERR_NETWORK', 'fetch x from y:\n it is down', { cause: new Error('ECONNRESET') });

  it('an expected failure is one line', () => {
    expect(report(failure)).toEqual({ exitCode: 1, text: 'nixcache: fetch x from y: it is down\n' });
  });

  it('its causes only with --verbose', () => {
    expect(report(failure, { verbose: true }).text).toBe(
      'nixcache: fetch x from y: it is down\n  caused by: ECONNRESET\n',
    );
  });

  it('a full disk is no bug', () => {
    const error = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    });
    expect(report(error)).toEqual({
      exitCode: 1,
      text: 'nixcache: write: the disk is full; free some space, or choose another place\n',
    });
  });

  it('a bug is a stack and a request', () => {
    const { exitCode, text } = report(new TypeError('x is not a function'));
    expect(exitCode).toBe(1);
    expect(text).toMatch(/^nixcache: this is a bug in nixcache.*\n {2}TypeError: x is not a function\n {6}at .*/);
    expect(text).toMatch(/please report it .* nixcache 1\n$/);
    expect(report('thrown text').text).toContain('thrown text');
  });

  it('an interruption is that, whatever broke by it', () => {
    expect(report(new Error('aborted'), { aborted: true })).toEqual({
      exitCode: 130,
      text: 'nixcache: interrupted; the cache is whole\n',
    });
  });

  it('causes that circle ends', () => {
    const error = new NixcacheError('ERR_IO', 'a');
    error.cause = error;
    expect(report(error, { verbose: true }).text.split('\n').length).toBeLessThan(12);
  });
});

describe('with --json, stdout has', () => {
  function jsonReport(
    error: unknown,
    before: (output: Output) => void = () => undefined,
    signal = AbortSignal.any([]),
  ) {
    const { output, stdout, stderr } = keptOutput();
    output.configure({ json: true });
    before(output);
    reportFailure(error, { output, signal, software: 'nixcache 1' });
    expect(stderr.text).toMatch(/^nixcache: /);
    return stdout.text;
  }
  const failure = new NixcacheError('ERR_NOT_FOUND', 'info x: it is\nnot there');

  it('the error', () => {
    expect(jsonReport(failure)).toBe('{"error":{"code":"ERR_NOT_FOUND","message":"info x: it is not there"}}\n');
    expect(JSON.parse(jsonReport(new TypeError('x')))).toMatchObject({ error: { code: 'ERR_BUG' } });
    expect(JSON.parse(jsonReport(failure, undefined, AbortSignal.abort()))).toMatchObject({
      error: { code: 'ERR_INTERRUPTED' },
    });
  });

  it('one document: none where there is a result already', () => {
    expect(jsonReport(failure, (output) => output.result({ url: 'http://x' }, () => ''))).toBe('{"url":"http://x"}\n');
  });
});

describe('the exit code', () => {
  it.each([
    [new NixcacheError('ERR_USAGE', ''), 2],
    [new NixcacheError('ERR_KEY', ''), 2],
    [new NixcacheError('ERR_INTERRUPTED', ''), 130],
    [new NixcacheError('ERR_REGISTRY', ''), 1],
    [new Error('bug'), 1],
  ])('of %s is %i', (error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });
});
