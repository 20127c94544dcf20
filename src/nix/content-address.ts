/**
 * The `CA` field: why a path needs no signature. `text:sha256:<hash>`, or `fixed:` + nothing (flat), `r:` (NAR) or
 * `git:` + `<algorithm>:<hash>`. Source: NixOS/nix src/libstore/content-address.cc.
 *
 * This is grammar only. A well-formed address that does not belong to its path makes every Nix version abort when the
 * path has no references, so whoever accepts one from a stranger must also compute it.
 */
import { NixcacheError } from '../errors.ts';
import { parseHash } from './hash.ts';
import { quoted } from './quoted.ts';

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
