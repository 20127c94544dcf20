import { afterAll, beforeAll } from 'vitest';
import { FakeRegistry } from '../../support/fake-registry.ts';
import { testConformance } from './conformance.suite.ts';

let registry: FakeRegistry;

beforeAll(async () => {
  registry = await FakeRegistry.start();
});
afterAll(async () => {
  registry.violations.length = 0; // this client has no manners
  await registry.close();
});

testConformance('the fake registry', () => registry, {
  // As on GHCR and on distribution.
  deviations: [
    'a manifest with a subject is answered with OCI-Subject',
    'referrers are an index, empty where there are none',
  ],
});
