import { expect, it, test } from 'vitest';
import { apiHost, parseRegistryKindName, registryKind } from '../../../src/oci/remote/registry-kinds.ts';

it.each([
  ['ghcr.io', 'ghcr'],
  ['GHCR.io', 'ghcr'],
  ['123456789012.dkr.ecr.eu-central-1.amazonaws.com', 'ecr'],
  ['docker.io', 'hub'],
  ['registry-1.docker.io', 'hub'],
  ['europe-docker.pkg.dev', 'gar'],
  ['team.azurecr.io', 'acr'],
  ['registry.gitlab.com', 'gitlab'],
  ['quay.io', 'quay'],
  ['codeberg.org', 'gitea'],
  ['localhost:5000', 'generic'],
  ['ghcr.io.evil.example', 'generic'],
  ['notghcr.io', 'generic'],
])('%s is of kind %s', (host, kind) => {
  expect(registryKind(host).name).toBe(kind);
});

test('a name overrides the host', () => {
  expect(registryKind('ghcr.io', 'zot').name).toBe('zot');
});

test('ECR takes 500 layers, GHCR deletes through its own API, Docker Hub wants a PATCH', () => {
  expect(registryKind('x', 'ecr').maxLayers).toBe(500);
  expect(registryKind('ghcr.io').deletes).toBe('github-packages');
  expect(registryKind('docker.io').uploads).toBe('patch-put');
});

test('an unknown name is refused with all that are known', () => {
  expect(() => parseRegistryKindName('ghrc')).toThrow(/ghcr, ecr, hub/);
  expect(parseRegistryKindName('zot')).toBe('zot');
});

test("Docker Hub's API is elsewhere", () => {
  expect(apiHost('docker.io')).toBe('registry-1.docker.io');
  expect(apiHost('ghcr.io')).toBe('ghcr.io');
});
