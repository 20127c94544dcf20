import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { HttpClient } from '../../../src/http/node/client.ts';
import type { RetryEvent } from '../../../src/http/retry.ts';
import { bytesContent } from '../../../src/oci/bytes-content.ts';
import { type Descriptor, describe } from '../../../src/oci/descriptor.ts';
import { encodeManifest, IMAGE_MANIFEST } from '../../../src/oci/manifest.ts';
import type { CredentialsProvider } from '../../../src/oci/remote/credentials.ts';
import { RemoteRepository, type RemoteRepositoryOptions } from '../../../src/oci/remote/repository.ts';
import { ManualClock } from '../../http/manual-clock.ts';
import { FakeRegistry } from '../../support/fake-registry.ts';
import { FAKE_USER } from '../../support/fake-registry-auth.ts';
import type { FakeRegistryTraits } from '../../support/fake-registry-faults.ts';

export const publisher: CredentialsProvider = async () => ({ type: 'basic', ...FAKE_USER });
export const nobody: CredentialsProvider = async () => undefined;

export interface OpenRepository {
  readonly registry: FakeRegistry;
  readonly repository: RemoteRepository;
  readonly clock: ManualClock;
  readonly retries: readonly RetryEvent[];
}

/** A fake registry with a repository on it; closed with the test, which fails if the client misbehaved. */
export async function openRepository(
  traits: Partial<FakeRegistryTraits> = {},
  options: Partial<RemoteRepositoryOptions> = {},
): Promise<OpenRepository> {
  const registry = await FakeRegistry.start(traits);
  const http = new HttpClient();
  const clock = new ManualClock();
  const retries: RetryEvent[] = [];
  onTestFinished(async () => {
    await http.destroy();
    await registry.close();
  });
  const repository = new RemoteRepository({
    host: registry.host,
    repository: 'team/cache',
    http,
    credentials: publisher,
    retry: { clock, onRetry: (event) => retries.push(event) },
    ...options,
  });
  return { registry, repository, clock, retries };
}

export interface Blob {
  readonly bytes: Buffer;
  readonly descriptor: Descriptor;
  readonly open: () => Readable;
}

export function blobOf(content: Buffer | string): Blob {
  const bytes = Buffer.from(content);
  const descriptor = describe('application/octet-stream', bytes);
  return { bytes, descriptor, open: () => bytesContent(bytes)() as Readable };
}

export const randomBlob = (size: number): Blob => blobOf(randomBytes(size));

export async function readAll(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export const manifestOf = (config: Descriptor, layers: readonly Descriptor[] = []): Buffer =>
  encodeManifest({ schemaVersion: 2, mediaType: IMAGE_MANIFEST, config, layers });
