/**
 * What Nix reaches directly, it reaches through `nixcache serve`: other addresses, logins from where Nix has them, authorities
 * of one's own, redirects to others, parameters of its URLs, and the order among several.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startServe } from '../support/e2e-cli.ts';
import { NIX_VERSIONS, requireNix } from '../support/nix-versions.ts';
import { isNar, type Quirk, quirkyPath, startQuirky, status, substitutes } from '../support/quirky-upstream.ts';
import { tempDir } from '../support/temp-dir.ts';
import { makeAuthority, makeCertificate } from '../support/tls-server.ts';

const newest = NIX_VERSIONS.at(-1)?.bin;

beforeAll(async () => {
  for (const nix of NIX_VERSIONS.slice(-1)) requireNix(nix);
  await quirkyPath();
});

const test = { onTestFinished };

interface Way {
  /** What Nix takes for a substituter; several are between spaces. */
  readonly url: string;
  /** Of another Nix than the machine's: what that does not do. */
  readonly bin?: string | undefined;
  readonly env?: Readonly<Record<string, string>>;
  readonly config?: readonly string[];
}

/** Whether Nix gets the path asking `way` itself, and through a server that asks it. */
const directly = ({ url, bin, env = {}, config = [] }: Way): Promise<boolean> => substitutes(url, bin, { env, config });
async function through({ url, bin, env = {}, config = [] }: Way): Promise<boolean> {
  const home = await tempDir();
  const settings = {
    ...{ PATH: process.env['PATH'] ?? '', HOME: home, NIX_CONF_DIR: home, NIX_CONFIG: config.join('\n') },
    ...env,
  };
  const upstreams = url.split(' ').flatMap((each) => ['--upstream', each]);
  await using server = await startServe(['--from', `oci:${join(home, 'cache')}`, ...upstreams], { env: settings });
  return await substitutes(server.url, bin);
}

const withNetrc = async (url: string, text: string): Promise<Way> => {
  const file = join(await tempDir(), 'netrc');
  await writeFile(file, text);
  return { url, config: [`netrc-file = ${file}`] };
};
const ME = 'login me password secret\n';

/** NARs are elsewhere: at `to`, which hears `heard` of who asks. */
const leadingTo = (to: string, quirk: Partial<Quirk> = {}): Quirk => ({
  name: 'leading elsewhere',
  ...quirk,
  handle: (request, response) => isNar(request) && status(302, { location: `${to}${request.url}` })(response),
});
/** What is sent as Authorization with requests for NARs. */
const hearing = (heard: Set<string | undefined>, quirk: Partial<Quirk> = {}): Quirk => ({
  name: 'hearing',
  ...quirk,
  handle: (request) => {
    if (isNar(request)) heard.add(request.headers.authorization);
    return false;
  },
});
const start = (quirk: Omit<Quirk, 'name'> = {}): Promise<string> => startQuirky({ name: 'here', ...quirk }, test);
const WANTS = { wants: 'me:secret' };
const LOGIN = { login: 'me:secret@' };

const WAYS: readonly { name: string; way: () => Promise<Way> }[] = [
  { name: 'an IPv6 address', way: async () => ({ url: await start({ host: '::1' }) }) },
  { name: 'netrc', way: async () => withNetrc(await start(WANTS), `machine 127.0.0.1 ${ME}`) },
  { name: 'netrc, default', way: async () => withNetrc(await start(WANTS), `machine other ${ME}default ${ME}`) },
  {
    name: 'netrc, an IPv6 address',
    way: async () => withNetrc(await start({ ...WANTS, host: '::1' }), `machine ::1 ${ME}`),
  },
  {
    name: 'netrc, the user name in the URL',
    way: async () =>
      withNetrc(
        await start({ ...WANTS, login: 'me@' }),
        `machine 127.0.0.1 login you password no\nmachine 127.0.0.1 ${ME}`,
      ),
  },
  {
    name: 'netrc, and another login in the URL',
    way: async () => withNetrc(await start(LOGIN), 'machine 127.0.0.1 login you password no\n'),
  },
  { name: 'a login in the URL', way: async () => ({ url: await start(LOGIN) }) },
  {
    name: 'escapes in the login in the URL',
    way: async () => ({ url: await start({ login: 'm%40e:s%3A%2F%25@', wants: 'm@e:s:/%' }) }),
  },
  { name: 'a NAR elsewhere', way: async () => ({ url: await start(leadingTo(await start({ host: 'localhost' }))) }) },
  {
    name: 'a NAR elsewhere, for which netrc has a login',
    way: async () =>
      withNetrc(await start(leadingTo(await start({ ...WANTS, host: 'localhost' }))), `machine localhost ${ME}`),
  },
  {
    name: 'a NAR at another port, for which netrc has the login',
    way: async () => withNetrc(await start(leadingTo(await start(WANTS), WANTS)), `machine 127.0.0.1 ${ME}`),
  },
  {
    name: 'a NAR elsewhere, a login in its URL',
    way: async () => ({ url: await start(leadingTo(await start({ ...LOGIN, host: 'localhost' }))), bin: newest }),
  },
  {
    name: 'a NAR whose narinfo names another host, for which netrc has a login',
    way: async () => {
      const other = await start({ ...WANTS, host: 'localhost' });
      const url = await start({ info: (info) => ({ ...info, url: `${other}/${info.url}` }) });
      return withNetrc(url, `machine localhost ${ME}`);
    },
  },
  ...['NIX_SSL_CERT_FILE', 'SSL_CERT_FILE'].map((variable) => ({
    name: `an authority in ${variable}`,
    way: async () => {
      const authority = await makeAuthority();
      const { key, cert } = await makeCertificate(authority);
      const url = await start({ tls: { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') } });
      return { url, env: { [variable]: authority.file } };
    },
  })),
  ...[
    'trusted=1',
    'trusted=true&priority=5',
    'priority=-1',
    'want-mass-query=true&compression=zstd&parallel-compression=1&path-info-cache-size=1',
  ].map((query) => ({ name: `parameters: ${query}`, way: async () => ({ url: `${await start()}?${query}` }) })),
  { name: 'parameters behind a slash', way: async () => ({ url: `${await start({ base: '/a' })}/?priority=5` }) },
];

it.each(WAYS)('gets through serve what it gets directly: $name', async ({ way }) => {
  const asked = await way();
  const [direct, served] = await Promise.all([directly(asked), through(asked)]);
  expect({ direct, served: served || !direct }).toEqual({ direct, served: true });
});

describe('a login', () => {
  it.each([
    ['in the URL', async (url: string): Promise<Way> => ({ url: url.replace('://', '://me:secret@') })],
    ['of netrc', (url: string): Promise<Way> => withNetrc(url, `machine 127.0.0.1 ${ME}`)],
  ])('%s does not follow to another host', async (_, wayTo) => {
    const heard = new Set<string | undefined>();
    const way = await wayTo(await start(leadingTo(await start(hearing(heard, { host: 'localhost' })), WANTS)));
    expect(await through(way)).toBe(true);
    expect([...heard]).toEqual([undefined]);
  });

  it('in the URL does not follow to another port', async () => {
    const heard = new Set<string | undefined>();
    expect(await through({ url: await start(leadingTo(await start(hearing(heard)), LOGIN)) })).toBe(true);
    expect([...heard]).toEqual([undefined]);
  });
});

describe('of two that have the path', () => {
  const says =
    (priority: string): NonNullable<Quirk['files']> =>
    (files) =>
      void files.set('/nix-cache-info', { body: `StoreDir: /nix/store\nWantMassQuery: 1\n${priority}` });

  it.each([
    ['that says the lower priority', ['Priority: 40\n', ''], ['Priority: 10\n', '']],
    ['whose URL has the lower priority', ['Priority: 20\n', '?priority=50'], ['Priority: 30\n', '']],
    ['whose URL has it, whatever it says', ['Priority: 20\n', ''], ['Priority: 90\n', '?priority=5']],
    ['that says none', ['Priority: 40\n', ''], ['', '']],
  ])('the second is taken as by Nix, %s', async (_, ...both) => {
    const taken: string[] = [];
    const urls = await Promise.all(
      both.map(async ([priority = '', query = ''], index) => {
        const quirk: Omit<Quirk, 'name'> = {
          files: says(priority),
          handle: (request) => {
            if (isNar(request)) taken.push(['first', 'second'][index] ?? '');
            return false;
          },
        };
        return `${await start(quirk)}${query}`;
      }),
    );
    const way = { url: urls.join(' ') };
    expect(await directly(way)).toBe(true);
    const direct = taken.splice(0);
    expect(await through(way)).toBe(true);
    expect({ direct, served: taken }).toEqual({ direct: ['second'], served: ['second'] });
  });
});

it('without a signature is no worse through serve where Nix is told to trust it', async () => {
  const url = `${await start({ info: (info) => ({ ...info, sigs: [] }) })}?trusted=1`;
  const home = await tempDir();
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, NIX_CONF_DIR: home };
  await using server = await startServe(['--from', `oci:${join(home, 'cache')}`, '--upstream', url], { env });
  expect(await substitutes(url, undefined, { isTrusted: true })).toBe(true);
  expect(await substitutes(`${server.url}?trusted=1`, undefined, { isTrusted: true })).toBe(true);
});
