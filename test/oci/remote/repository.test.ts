import { onTestFinished } from 'vitest';
import type { HttpFetch } from '../../../src/http/http-fetch.ts';
import { HttpClient } from '../../../src/http/node/client.ts';
import { WebFetch } from '../../../src/http/web-fetch.ts';
import { RemoteRepository } from '../../../src/oci/remote/repository.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';
import { type FakeRegistryTraits, PLAIN, PROFILES } from '../../support/fake-registry-faults.ts';
import { testContentStore } from '../content-store.suite.ts';
import { publisher } from './open-repository.ts';

const profiles: Readonly<Record<string, FakeRegistryTraits>> = {
  'a registry with tokens': { ...PLAIN, auth: 'bearer' },
  'a registry with passwords and absolute Locations': PROFILES.ecr,
  'a registry like GHCR': PROFILES.ghcr,
};

async function open(traits: FakeRegistryTraits, openHttp: () => HttpFetch): Promise<RemoteRepository> {
  const registry = await FakeRegistry.start(traits);
  onTestFinished(() => registry.close());
  const http = openHttp();
  return new RemoteRepository({ host: registry.host, repository: 'team/cache', http, credentials: publisher });
}

function openClient(): HttpFetch {
  const client = new HttpClient();
  onTestFinished(() => client.destroy());
  return client;
}

for (const [name, traits] of Object.entries(profiles)) {
  const { deletes } = traits;
  testContentStore(`RemoteRepository on ${name}`, () => open(traits, openClient), { deletes });
  testContentStore(`RemoteRepository by fetch on ${name}`, () => open(traits, () => new WebFetch()), { deletes });
}
