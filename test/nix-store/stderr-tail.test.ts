import { expect, it } from 'vitest';
import { StderrTail, stripAnsi, summariseErrors } from '../../src/nix-store/stderr-tail.ts';

it('joins lines and characters that arrive in pieces', () => {
  const tail = new StderrTail();
  for (const byte of Buffer.from('één\ntwee')) tail.push(Buffer.from([byte]));
  tail.end();
  expect(tail.lines).toEqual(['één', 'twee']);
});

it('forgets all but the last lines, and cuts an endless one', () => {
  const tail = new StderrTail();
  tail.push(Buffer.from('x\n'.repeat(10_000)));
  for (let i = 0; i < 40; i++) tail.push(Buffer.alloc(100_000, 'y'));
  tail.end();
  expect(tail.lines.length).toBe(60);
  expect(tail.lines.at(-1)?.length).toBeLessThanOrEqual(1024 * 1024);
});

it('does not remember what its reader took', () => {
  const tail = new StderrTail((line) => line.startsWith('@nix'));
  tail.push(Buffer.from('@nix {}\nwarning: w\n'));
  expect(tail.lines).toEqual(['warning: w']);
});

it('takes colours and hyperlinks off', () => {
  expect(stripAnsi('\u001b[31;1merror:\u001b[0m \u001b]8;;http://x\u0007text\u001b]8;;\u0007')).toBe('error: text');
});

it('finds the error behind the trace, without source excerpts', () => {
  // nix eval of the fixture `broken`, Nix 2.26.3, shortened.
  const lines = [
    'error:',
    '       … while evaluating the attribute',
    '         at /nix/store/x-source/flake.nix:20:18:',
    '           19|         good = good "good";',
    '           20|         misses = { }.broken;',
    '             |                  ^',
    '',
    "       error: attribute 'broken' missing",
    '       at /nix/store/x-source/flake.nix:20:18:',
    '           20|         misses = { }.broken;',
    "(use '--show-trace' to show detailed location information)",
  ];
  expect(summariseErrors(lines)).toBe("attribute 'broken' missing at /nix/store/x-source/flake.nix:20:18");
});

it('says nothing of files of ours, or of a lock that is not kept', () => {
  // nix eval of a host without a toplevel, Nix 2.8.0; and of one that ran out of memory.
  const locking = [
    "warning: not writing modified lock file of flake 'path:/tmp/nixcache-x/question-y':",
    "• Added input 'target':",
    "    'path:/tmp/f?lastModified=1&narHash=sha256-AAAA=' (1970-01-01)",
    "• Added input 'target/dep':",
    "    follows 'dep'",
  ];
  const failed = [
    "error: attribute 'toplevel' missing",
    '       at /nix/store/y8m0cr4zjs4x7p96rf36xd81ifaz2r8k-source/nixcache-answer.nix:67:34:',
    '           66|   a',
  ];
  expect(summariseErrors([...locking, ...failed])).toBe("attribute 'toplevel' missing");
  expect(summariseErrors([...locking, 'out of memory'])).toBe('out of memory');
});

it('takes the last lines where none is an error', () => {
  expect(summariseErrors(['one', '', 'two'])).toBe('one two');
  expect(summariseErrors([])).toBe('');
});
