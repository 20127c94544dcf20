/** `WWW-Authenticate` (RFC 9110 11.6.1), as far as registries use it. */

export interface BearerChallenge {
  readonly scheme: 'bearer';
  readonly realm: string;
  readonly service: string | undefined;
  readonly scope: string | undefined;
}

export type Challenge = BearerChallenge | { readonly scheme: 'basic' };

/** The first challenge that we can answer, Bearer before Basic; undefined if there is none. */
export function parseChallenge(header: string | readonly string[] | undefined): Challenge | undefined {
  const challenges = [header ?? []].flat().flatMap(splitChallenges);
  for (const { scheme, parameters } of challenges) {
    const realm = parameters.get('realm');
    if (scheme === 'bearer' && realm !== undefined) {
      return { scheme, realm, service: parameters.get('service'), scope: parameters.get('scope') };
    }
  }
  return challenges.some(({ scheme }) => scheme === 'basic') ? { scheme: 'basic' } : undefined;
}

interface RawChallenge {
  readonly scheme: string;
  readonly parameters: Map<string, string>;
}

/** A scheme is a token that no `=` follows; all parameters up to the next scheme are its own. */
function splitChallenges(header: string): RawChallenge[] {
  const challenges: RawChallenge[] = [];
  for (const match of header.matchAll(/([\w!#$%&'*+.^`|~-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g)) {
    const [, name = '', quoted, token] = match;
    const value = quoted?.replaceAll(/\\(.)/g, '$1') ?? token;
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: new Map() });
    else challenges.at(-1)?.parameters.set(name.toLowerCase(), value);
  }
  return challenges;
}
