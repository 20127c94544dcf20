import { onTestFinished } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
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

for (const [name, traits] of Object.entries(profiles)) {
  const open = async (): Promise<RemoteRepository> => {
    const registry = await FakeRegistry.start(traits);
    const http = new HttpClient();
    onTestFinished(async () => {
      await http.destroy();
      await registry.close();
    });
    return new RemoteRepository({ host: registry.host, repository: 'team/cache', http, credentials: publisher });
  };
  testContentStore(`RemoteRepository on ${name}`, open, { deletes: traits.deletes });
}
