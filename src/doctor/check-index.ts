/** What the cache says it has: readable, recent, and signed by keys that are known. */
import type { IndexReader } from '../cache/read/index-reader.ts';
import { fetchNewestPublish } from '../cache/read/newest-publish.ts';
import { FORMAT_VERSION } from '../cache-index/media-types.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import { findSigner, type PublicKey, sortPublicKeys } from '../nix/signature.ts';
import { formatCount } from '../quantity.ts';
import { within } from './deadline.ts';
import { type Finding, ok, problem, skipped, warning } from './finding.ts';

export interface IndexCheckOptions {
  /** Strict, over the cache. It stays open: its owner closes it. */
  readonly openReader: () => Promise<IndexReader>;
  /** Public halves of this machine's signing keys. @throws {NixcacheError} ERR_KEY */
  readonly signingKeys: () => Promise<readonly PublicKey[]>;
  readonly now: () => Date;
  readonly signal?: AbortSignal | undefined;
}

export interface IndexFindings {
  /** Undefined when it cannot be read. */
  readonly reader: IndexReader | undefined;
  readonly publicKeys: readonly PublicKey[];
  readonly findings: readonly Finding[];
}

/** The first time the whole index is downloaded: some 100 bytes an entry. */
const INDEX_TIMEOUT_MS = 8000;

export async function checkIndex(options: IndexCheckOptions): Promise<IndexFindings> {
  let reader: IndexReader;
  let isOpened = false;
  try {
    reader = await within(INDEX_TIMEOUT_MS, 'read the index', options.signal, async (signal) => {
      const opened = await options.openReader();
      isOpened = true;
      await opened.refresh({ signal });
      return opened;
    });
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    const finding = problem('index', `the index cannot be read: ${messageOf(error)}`, adviceFor(error, isOpened));
    return withoutIndex(finding, 'the index cannot be read', options);
  }
  const { keys: publicKeys, malformed } = sortPublicKeys(reader.view?.publicKeys ?? []);
  const key = await judgeKey(publicKeys, reader.status().entries, options);
  return {
    ...{ reader, publicKeys },
    findings: [
      judgeIndex(reader, malformed),
      await judgeAge(reader, options),
      key,
      judgeSignatures(reader, publicKeys),
    ],
  };
}

function judgeIndex(reader: IndexReader, malformed: readonly string[]): Finding {
  const { entries, segments } = reader.status();
  const message = `${formatCount(entries, 'entry', 'entries')} in ${formatCount(segments, 'segment')}, format ${FORMAT_VERSION}`;
  const [text] = malformed;
  if (text === undefined) return ok('index', message);
  return warning(
    'index',
    `${message}; it names '${text}', which is no public key`,
    'see who publishes with such a key: nixcache key generate NAME makes one',
  );
}

/** What can be said nevertheless: `why` the rest cannot. */
export async function withoutIndex(
  index: Finding,
  why: string,
  options: Pick<IndexCheckOptions, 'signingKeys'>,
): Promise<IndexFindings> {
  const key = await judgeKey([], 0, options);
  const findings = [index, skipped('age', why), key, skipped('signatures', why)];
  return { reader: undefined, publicKeys: [], findings };
}

/** What cannot even be opened, verify cannot look into: the error itself says what to do. */
function adviceFor(error: unknown, isOpened: boolean): string {
  if (isNixcacheError(error, 'ERR_INDEX_VERSION')) return 'install a newer nixcache';
  if (!isOpened) return 'see above';
  if (isNixcacheError(error, 'ERR_INDEX', 'ERR_DIGEST_MISMATCH')) return 'look for damage: nixcache verify';
  return 'see above';
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** Long enough for a holiday; whoever publishes less often knows. */
const MAX_AGE_MS = 30 * DAY_MS;
const MAX_FUTURE_MS = 10 * 60 * 1000;

async function judgeAge(
  { store, view }: IndexReader,
  { now, signal: until }: Pick<IndexCheckOptions, 'now' | 'signal'>,
): Promise<Finding> {
  if (!view) throw new Error('the reader was never refreshed');
  let newest: Date | undefined;
  try {
    newest = await within(INDEX_TIMEOUT_MS, 'look for the newest publish', until, (signal) =>
      fetchNewestPublish(view, { store, signal }),
    );
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    return problem('age', messageOf(error), adviceFor(error, true));
  }
  if (newest === undefined) return warning('age', 'nothing was published yet', 'nixcache publish');
  const ageMs = now().getTime() - newest.getTime();
  if (ageMs < -MAX_FUTURE_MS) {
    return warning(
      'age',
      `the newest publish is of ${newest.toISOString()}: a publisher's clock is wrong`,
      'set its clock',
    );
  }
  const age = describeAge(ageMs);
  if (ageMs <= MAX_AGE_MS) return ok('age', `the newest publish is ${age} old`);
  return warning('age', `nothing was published for ${age}`, 'does the workflow still run? else: nixcache publish');
}

function describeAge(ageMs: number): string {
  if (ageMs < HOUR_MS) return 'less than an hour';
  return ageMs < 2 * DAY_MS ? `${Math.round(ageMs / HOUR_MS)} h` : `${Math.floor(ageMs / DAY_MS)} days`;
}

async function judgeKey(
  published: readonly PublicKey[],
  entries: number,
  options: Pick<IndexCheckOptions, 'signingKeys'>,
): Promise<Finding> {
  let keys: readonly PublicKey[];
  try {
    keys = await options.signingKeys();
  } catch (error) {
    if (!isNixcacheError(error)) throw error;
    const fix =
      published.length === 0
        ? 'make a key with: nixcache key generate NAME'
        : `name the file of the cache's own key (${published.map(({ name }) => name).join(', ')}): --key-file FILE`;
    return problem('key', messageOf(error), fix);
  }
  if (keys.length === 0) return skipped('key', 'this machine has no signing key, and needs one only to publish');
  const texts = new Set(published.map(({ text }) => text));
  const unknown = keys.find(({ text }) => !texts.has(text));
  if (unknown === undefined)
    return ok('key', `the key ${keys.map(({ name }) => name).join(', ')} is one of the cache's`);
  if (published.some(({ name }) => name === unknown.name)) {
    const message = `the key here is called ${unknown.name}, as another one is that signed the cache: clients trust one of them only`;
    return problem(
      'key',
      message,
      'use the same key everywhere, or make one of another name: nixcache key generate NAME',
    );
  }
  if (published.length === 0 && entries === 0)
    return ok('key', `${unknown.name} will sign what is published from here`);
  const message = `nothing in the cache names the key ${unknown.name} that signs here`;
  return warning('key', message, `let clients trust it too: extra-trusted-public-keys = ${unknown.text}`);
}

/** Verifying one takes some 0.2 ms. */
const SAMPLE = 100;

function judgeSignatures(reader: IndexReader, keys: readonly PublicKey[]): Finding {
  const counts = { valid: 0, wrong: 0, unsigned: 0, unknown: 0 };
  let example = '';
  let sampled = 0;
  for (const { entry } of reader.entries()) {
    if (sampled === SAMPLE) break;
    sampled++;
    const { narInfo } = entry;
    const named = keys.filter(({ name }) => narInfo.sigs.some((sig) => sig.startsWith(`${name}:`)));
    if (narInfo.sigs.length === 0) counts.unsigned++;
    else if (findSigner(narInfo, keys)) counts.valid++;
    else if (named.length === 0) counts.unknown++;
    else {
      counts.wrong++;
      example = narInfo.path;
    }
  }
  if (sampled === 0) return skipped('signatures', 'there are no entries');
  const of = `of ${formatCount(sampled, 'entry', 'entries')}`;
  if (counts.wrong > 0) {
    const message = `${counts.wrong} ${of} have a wrong signature, like ${example}`;
    return problem('signatures', message, 'look further with: nixcache verify');
  }
  if (counts.unsigned > 0) {
    const message = `${counts.unsigned} ${of} have no signature: Nix refuses them`;
    const names = keys.map(({ name }) => name);
    const fix =
      names.length === 0
        ? 'publish them again with a key: nixcache key generate NAME, nixcache publish --key-file'
        : `publish them again with the cache's own key (${names.join(', ')}): nixcache publish --key-file FILE`;
    return warning('signatures', message, fix);
  }
  if (counts.unknown > 0) {
    const message = `${counts.unknown} ${of} are signed by keys that no publisher named`;
    return warning('signatures', message, 'ask the publishers for their public keys');
  }
  return ok(
    'signatures',
    sampled === 1
      ? 'the one entry has a valid signature'
      : `${sampled === SAMPLE ? `a sample of ${sampled}` : `all ${sampled}`} entries have valid signatures`,
  );
}
