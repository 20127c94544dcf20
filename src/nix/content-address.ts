/**
 * The `CA` field: why a path needs no signature. `text:sha256:<hash>`, or `fixed:` + nothing (flat), `r:` (NAR) or
 * `git:` + `<algorithm>:<hash>`. Source: NixOS/nix src/libstore/content-address.cc.
 *
 * A well-formed address that does not belong to its path makes every Nix version abort when the path has no references, so
 * whoever accepts one from a stranger must also compute the path (`hashPartOfAddress`).
 */
import { createHash } from 'node:crypto';
import { NixcacheError } from '../errors.ts';
import { hashToHex, type NixHash, parseHash } from './hash.ts';
import { encode } from './nixbase32.ts';
import type { PathInfo } from './path-info.ts';
import { quoted } from './quoted.ts';
import { baseNameOf, type HashPart, nameOf, storeDirOf, toStorePath } from './store-path.ts';

/**
 * The canonical form of `text`, its hash in nix base-32.
 *
 * @throws {NixcacheError} ERR_FORMAT
 */
export function parseContentAddress(text: string): string {
  const [, method = '', rest = ''] = /^(text:|fixed:(?:r:|git:)?)(.*)$/s.exec(text) ?? [];
  // Nix takes no SRI here: the algorithm ends at a colon.
  if (!/^[a-z0-9]+:/.test(rest)) {
    throw fault(text, 'it reads neither text:sha256:<hash> nor fixed:[r:|git:]<algorithm>:<hash>');
  }
  const hash = parseHash(rest);
  if (method === 'text:' && !hash.startsWith('sha256:')) throw fault(text, 'text is addressed by sha256 only');
  if (method === 'fixed:git:' && !GIT.test(hash)) throw fault(text, 'git objects are addressed by sha1 or sha256');
  return `${method}${hash}`;
}

const GIT = /^sha(?:1|256):/;

const fault = (text: string, what: string): NixcacheError =>
  new NixcacheError('ERR_FORMAT', `${quoted(text)} is not a content address: ${what}`);

/**
 * The hash part that a path of this content address has; undefined where nothing can have it: text and NARs by sha256 alone
 * may have references, and only such NARs to themselves.
 *
 * @param ca canonical
 * @param info its references sorted
 */
export function hashPartOfAddress(
  ca: string,
  { path, references }: Pick<PathInfo, 'path' | 'references'>,
): HashPart | undefined {
  const [, method = '', hash = ''] = /^(text:|fixed:(?:r:|git:)?)(.*)$/.exec(ca) ?? [];
  const [storeDir, name, own] = [storeDirOf(path), nameOf(path), baseNameOf(path)];
  const others = references.filter((reference) => reference !== own).map((each) => `:${toStorePath(each, storeDir)}`);
  const hex = hashToHex(hash as NixHash);
  const isSelf = references.includes(own);
  if (method === 'fixed:r:' && hash.startsWith('sha256:')) {
    return hashPartFrom(`source${others.join('')}${isSelf ? ':self' : ''}`, hex, storeDir, name);
  }
  if (isSelf) return undefined;
  if (method === 'text:') return hashPartFrom(`text${others.join('')}`, hex, storeDir, name);
  if (others.length > 0) return undefined;
  const algorithm = hash.slice(0, hash.indexOf(':'));
  const inner = createHash('sha256')
    .update(`fixed:out:${method.slice('fixed:'.length)}${algorithm}:${hex}:`)
    .digest('hex');
  return hashPartFrom('output:out', inner, storeDir, name);
}

const HASH_PART_BYTES = 20;

/** Source: NixOS/nix src/libstore/store-api.cc (`makeStorePath`), `compressHash` in src/libutil/hash.cc. */
function hashPartFrom(type: string, hex: string, storeDir: string, name: string): HashPart {
  const digest = createHash('sha256').update(`${type}:sha256:${hex}:${storeDir}:${name}`).digest();
  const folded = new Uint8Array(HASH_PART_BYTES);
  for (const [i, byte] of digest.entries()) {
    const at = i % HASH_PART_BYTES;
    folded[at] = (folded[at] ?? 0) ^ byte;
  }
  return encode(folded) as HashPart;
}
