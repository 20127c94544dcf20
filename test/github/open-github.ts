/** GHCR and GitHub's API as tests have them: both fakes, and a repository of an owner on them. */
import { onTestFinished } from 'vitest';
import type { UnneededManifest } from '../../src/gc/deleter.ts';
import { GithubApi } from '../../src/github/api.ts';
import { parsePackageName } from '../../src/github/package-name.ts';
import { GithubPackagesDeleter } from '../../src/github/packages-deleter.ts';
import { HttpClient } from '../../src/http/node/client.ts';
import { encodeManifest, IMAGE_INDEX } from '../../src/oci/manifest.ts';
import { RemoteRepository } from '../../src/oci/remote/repository.ts';
import { FAKE_GITHUB_TOKEN, FakeGithub, type FakeGithubTraits } from '../support/fake-github.ts';
import { FakeRegistry } from '../support/fake-registry.ts';
import { FAKE_USER } from '../support/fake-registry-auth.ts';
import { PROFILES } from '../support/fake-registry-faults.ts';

export const REPOSITORY = 'octo-org/repo/nix-cache';

export interface OpenGithub {
  readonly registry: FakeRegistry;
  readonly github: FakeGithub;
  readonly repository: RemoteRepository;
  readonly http: HttpClient;
  /** Seconds of the waits that the deleters were asked for. */
  readonly waits: number[];
  /** A new one, as each gc has. Its seconds take a millisecond. */
  openDeleter(options?: { readonly token?: string; readonly url?: string }): GithubPackagesDeleter;
  /** Pushes a manifest of its own for each tag. */
  pushTags(...tags: readonly string[]): Promise<UnneededManifest[]>;
}

/** Closed with the test, which fails if a client misbehaved. */
export async function openGithub(traits: Partial<FakeGithubTraits> = {}): Promise<OpenGithub> {
  const registry = await FakeRegistry.start(PROFILES.ghcr);
  const github = await FakeGithub.start(registry, REPOSITORY, traits);
  const http = new HttpClient();
  onTestFinished(async () => {
    await http.destroy();
    await registry.close();
    await github.close();
  });
  const repository = new RemoteRepository({
    ...{ host: registry.host, repository: REPOSITORY, http, kind: 'ghcr' },
    credentials: async () => ({ type: 'basic', ...FAKE_USER }),
  });
  const waits: number[] = [];
  return {
    ...{ registry, github, repository, http, waits },
    openDeleter: ({ token = FAKE_GITHUB_TOKEN, url = github.url } = {}) =>
      new GithubPackagesDeleter({
        api: new GithubApi({
          ...{ url: new URL(url), token, http, secondMs: 1 },
          onWait: (seconds) => waits.push(seconds),
        }),
        package: parsePackageName(REPOSITORY),
      }),
    async pushTags(...tags) {
      const unneeded: UnneededManifest[] = [];
      for (const tag of tags) {
        const bytes = encodeManifest({ schemaVersion: 2, mediaType: IMAGE_INDEX, manifests: [], annotations: { tag } });
        const { digest } = await repository.pushManifest(tag, IMAGE_INDEX, bytes);
        unneeded.push({ tag, digest });
      }
      return unneeded;
    },
  };
}
