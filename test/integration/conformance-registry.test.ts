/** What the fake registry is held to, on the registry that most self-hosted ones are. */
import { afterAll, beforeAll } from 'vitest';
import { testConformance } from '../oci/remote/conformance.suite.ts';
import { RealRegistry } from '../support/real-registry.ts';

let registry: RealRegistry;

beforeAll(async () => {
  registry = await RealRegistry.start();
});
afterAll(() => registry.stop());

testConformance('docker-registry 2.8.2', () => registry, {
  deviations: [
    'a range behind the end is 416', // it is, but with a Content-Length that its body does not have
    'a chunk out of order is 416', // 202
    'a manifest with a subject is answered with OCI-Subject',
    'the tag list has name and tags, in lexical order', // in the order of the directory
    'n limits the tags of a page, and last continues', // all tags are always one page
    'Link names the next page while there is one',
    'referrers are an index, empty where there are none',
    'DELETE of a tag is 202, or is refused as not supported', // 400, but DIGEST_INVALID
  ],
});
