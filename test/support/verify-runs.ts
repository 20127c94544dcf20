/** verify over a test's store, without a Nix and without upstreams unless a test has them. */
import { Mirror } from '../../src/cache/read/mirror.ts';
import type { ContentStore } from '../../src/oci/content-store.ts';
import type { Finding } from '../../src/verify/finding.ts';
import type { VerifyReport } from '../../src/verify/report.ts';
import { type RepairSettings, type VerifyOptions, verifyCache } from '../../src/verify/verify.ts';

export async function verify(store: ContentStore, options: Partial<VerifyOptions> = {}): Promise<VerifyReport> {
  return verifyCache({
    store,
    mirror: await Mirror.open({ cache: store.name, use: 'recall' }),
    upstreams: [],
    trustedPublicKeys: [],
    contents: false,
    creator: 'test',
    onEvent: () => undefined,
    now: () => new Date(),
    ...options,
  });
}

export const REPAIR: RepairSettings = { dryRun: false, local: undefined, dropIncomplete: false };

/** Kinds of damage and warnings, each once; what concerns every cache of the tests is left out: they are unsigned. */
export const kindsOf = (findings: readonly Finding[]): string[] =>
  [...new Set(findings.map(({ kind }) => kind as string))].filter((kind) => kind !== 'unsigned-cache').sort();
