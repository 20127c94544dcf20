/** What the first publish to GHCR says of who may read the package. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { hintVisibility } from '../../../../src/cli/commands/publish/visibility-hint.ts';
import { HttpClient } from '../../../../src/http/node/client.ts';
import type { RegistryKindName } from '../../../../src/oci/remote/registry-kinds.ts';
import { FakeRegistry } from '../../../support/fake-registry.ts';
import { FAKE_USER } from '../../../support/fake-registry-auth.ts';
import { type FakeRegistryTraits, PROFILES } from '../../../support/fake-registry-faults.ts';
import { createNixEnv } from '../../../support/nix-env.ts';
import { runCli } from '../../run-cli.ts';
import { keptOutput } from '../../streams.ts';

const REPOSITORY = 'octo-org/repo/nix-cache';
const PAGE = 'https://github.com/orgs/octo-org/packages/container/repo%2Fnix-cache/settings';

interface Case {
  readonly traits?: Partial<FakeRegistryTraits>;
  readonly kind?: RegistryKindName;
  /** Tags in the registry when the publish is over. */
  readonly tags?: readonly string[];
  readonly segments?: readonly string[];
  readonly listTags?: () => Promise<string[]>;
}

/** What is said, and how many requests it took. */
async function hint({ traits, kind = 'ghcr', tags = ['cache-index', 'seg-1'], segments = ['seg-1'], listTags }: Case) {
  const registry = await FakeRegistry.start({ ...PROFILES.ghcr, ...traits });
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    await registry.close();
  });
  registry.repository(REPOSITORY);
  const { output, stderr } = keptOutput();
  output.configure({ verbose: true });
  const name = `${registry.host}/${REPOSITORY}`;
  const reference = { kind: 'registry', host: registry.host, repository: REPOSITORY } as const;
  await hintVisibility(
    {
      cache: { reference, name, from: '--to', registryKind: kind, plainHttp: false },
      store: { listTags: listTags ?? (async () => [...tags]) },
      ...{ http, segments },
    },
    { output, signal: new AbortController().signal },
  );
  return { said: stderr.text, requests: registry.requests };
}

describe('the hint after a publish', () => {
  it('says that the package is private, where to change that, and what to click', async () => {
    const { said } = await hint({});
    expect(said).toContain('is private, as GitHub makes every new package');
    expect(said).toContain(
      `${PAGE} (of a person: /users/ instead of /orgs/) → Danger Zone → Change visibility → Public`,
    );
    expect(said).toContain('cannot be undone');
  });

  it('asks as no one', async () => {
    const { requests } = await hint({});
    const tokens = requests.filter(({ path }) => path.startsWith('/token'));
    expect(tokens).toHaveLength(1);
    expect(tokens[0]?.headers.authorization).toBeUndefined();
  });

  const silent: readonly (readonly [string, Case])[] = [
    ['the package is public', { traits: { publicRead: true } }],
    ['it was not the first publish', { tags: ['cache-index', 'seg-0', 'seg-1'] }],
    ['nothing was published', { segments: [] }],
    ['the registry is another', { kind: 'generic' }],
  ];
  it.each(silent)('says nothing when %s', async (_, options) => {
    expect((await hint(options)).said).toBe('');
  });

  it('fails no publish, whatever goes wrong', async () => {
    const broken = await hint({ listTags: () => Promise.reject(new Error('cut off')) });
    expect(broken.said).toMatch(/could not be found out: cut off/);
    expect(broken.said).not.toContain('warning');
  });
});

it('is given by push, once', async () => {
  const [registry, nix] = await Promise.all([FakeRegistry.start(PROFILES.ghcr), createNixEnv()]);
  onTestFinished(async () => {
    await registry.close();
    await nix.cleanup();
  });
  const push = async (content: string) => {
    const file = join(nix.dir, 'file');
    await writeFile(file, content);
    const { stdout: path } = await execa('nix-store', ['--add', file], { env: nix.env, extendEnv: false });
    return runCli(['push', path, '--to', `${registry.host}/${REPOSITORY}`, '--no-upstream'], {
      env: {
        ...{ ...nix.env, NIXCACHE_REGISTRY_KIND: 'ghcr' },
        ...{ NIXCACHE_USERNAME: FAKE_USER.username, NIXCACHE_PASSWORD: FAKE_USER.password },
      },
    });
  };
  const first = await push('one');
  expect(first).toMatchObject({ exitCode: 0, stdout: '' });
  expect(first.stderr).toContain(PAGE);
  const second = await push('two');
  expect(second.exitCode).toBe(0);
  expect(second.stderr).not.toContain(PAGE);
});
