import { expect, it } from 'vitest';
import { welcomeOf } from '../../../../src/cli/commands/serve/welcome.ts';

const NOW = new Date('2026-01-01T00:10:00Z');
const status = { segments: 1, generation: 1, lastError: undefined };
const readerWith = (entries: number, refreshedAt: Date | undefined, keys: readonly string[] = []) => ({
  ...{ name: 'ghcr.io/o/r', status: () => ({ ...status, entries, refreshedAt }), fetchPublicKeys: async () => keys },
});
const OPTIONS = {
  url: 'http://127.0.0.1:1',
  upstreams: [],
  isPrivate: false,
  keys: [],
  trustedPublicKeys: [],
  now: NOW,
};

it('says what is there, how old that is, and the lines for nix.conf', async () => {
  const reader = readerWith(1234, new Date('2026-01-01T00:08:00Z'), ['a-1:AA', 'b-1:BB']);
  const options = { ...OPTIONS, upstreams: [{ url: 'https://u' }], keys: ['own-1:CC', 'a-1:AA'] };
  const lines = await welcomeOf(reader, options);
  expect(lines.map(({ text }) => text)).toEqual([
    'serving ghcr.io/o/r, then https://u; Ctrl-C stops',
    'index: 1,234 entries, 2 min 00 s old',
    'to use it, in nix.conf:\n  extra-substituters = http://127.0.0.1:1\n  extra-trusted-public-keys = own-1:CC a-1:AA b-1:BB',
  ]);
  expect(lines[1]?.facts).toEqual({ event: 'index', entries: 1234, ageSeconds: 120 });
});

it('advises to trust no key that the server does not', async () => {
  const reader = readerWith(1, NOW, ['evil-1:EE']);
  for (const url of [OPTIONS.url, 'unix:/run/x']) {
    const lines = await welcomeOf(reader, { ...OPTIONS, url, keys: ['own-1:CC'], trustedPublicKeys: ['t-1:TT'] });
    expect(lines[2]?.facts['extra-trusted-public-keys']).toBe('own-1:CC t-1:TT');
    expect(lines[2]?.text).toContain('own-1:CC t-1:TT');
    expect(lines[2]?.text).not.toContain('evil');
  }
});

it('names the machine where the server listens at all of its addresses', async () => {
  for (const address of ['0.0.0.0', '[::]']) {
    const options = { ...OPTIONS, url: `http://${address}:1/team`, isPrivate: true, hostName: 'here' };
    const lines = await welcomeOf(readerWith(1, NOW), options);
    expect(lines[2]?.facts['extra-substituters']).toBe('http://here:1/team');
    expect(lines[2]?.text).toContain('machine here login any password TOKEN');
  }
});

it('says what is not known: no index, no key; and that a private cache wants tokens', async () => {
  const lines = await welcomeOf(readerWith(0, undefined), { ...OPTIONS, isPrivate: true });
  expect(lines[1]?.text).toBe('index: none was ever seen; /health answers 503 until there is one');
  expect(lines[2]?.text).toContain('with the key of who signed');
  expect(lines[2]?.text).toContain('netrc: machine 127.0.0.1 login any password TOKEN');
  const [, empty] = await welcomeOf(readerWith(0, NOW), OPTIONS);
  expect(empty?.text).toBe('index: empty, 0.0 s old; was anything published there, and is the reference right?');
  const [, index] = await welcomeOf(readerWith(2, undefined), OPTIONS);
  expect(index?.text).toContain('2 entries from an earlier run');
});
