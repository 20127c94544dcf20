/** Tokens of clients: how files list them, and what one that is shown may do. Only hashes of them are kept. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { NixcacheError } from '../errors.ts';

const SCOPES = ['read', 'push', 'admin'] as const;
/** `read`: all that is in the cache; `push`: to put something into it; `admin`: what is for those who run it. */
export type Scope = (typeof SCOPES)[number];

/** Who showed a token; the name is no secret. */
export interface TokenHolder {
  readonly name: string;
  readonly scopes: readonly Scope[];
}

export interface Token extends TokenHolder {
  readonly sha256: Buffer;
}

export interface TokenDefaults {
  /** Of a token that stands alone on its line; the number of the line is added: `read-token-1`. */
  readonly name: string;
  readonly scopes: readonly Scope[];
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;
const TOKEN = /^[\x21-\x7e]+$/;

/**
 * One token a line, as `TOKEN` or as `NAME SCOPES TOKEN` with `read,push,admin` or some of these for SCOPES; empty lines and
 * those that begin with `#` are comments. What is wrong is told by the number of its line: any word in it may be the secret.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export function parseTokens(text: string, defaults: TokenDefaults): readonly Token[] {
  const tokens: Token[] = [];
  for (const [index, raw] of text
    .replace(/^\ufeff/, '')
    .split('\n')
    .entries()) {
    const line = raw.trim();
    if (line !== '' && !line.startsWith('#')) tokens.push(parseLine(line, index + 1, defaults));
  }
  if (tokens.length === 0) throw new NixcacheError('ERR_USAGE', 'there is no token in it: write one a line');
  return tokens;
}

function parseLine(line: string, number: number, defaults: TokenDefaults): Token {
  const wrong = (what: string): never => {
    throw new NixcacheError('ERR_USAGE', `line ${number}: ${what}; write TOKEN, or NAME SCOPES TOKEN`);
  };
  const words = line.split(/[ \t]+/);
  const token = words.at(-1) ?? '';
  if (!TOKEN.test(token)) wrong('a token is made of printable ASCII characters');
  const sha256 = sha256Of(token);
  if (words.length === 1) return { name: `${defaults.name}-${number}`, scopes: defaults.scopes, sha256 };
  const [name = '', list = ''] = words;
  if (words.length !== 3) wrong(`there are ${words.length} words`);
  if (!NAME.test(name)) wrong('a name is made of up to 64 letters, digits and . _ @ -');
  const scopes = list.split(',');
  if (!scopes.every(isScope)) wrong(`scopes are some of ${SCOPES.join(',')}`);
  return { name, scopes: scopes.filter(isScope), sha256 };
}

const isScope = (word: string): word is Scope => (SCOPES as readonly string[]).includes(word);

export class Tokens {
  readonly #tokens: readonly Token[];

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  /** Whether any token has that scope. */
  has(scope: Scope): boolean {
    return this.#tokens.some(({ scopes }) => scopes.includes(scope));
  }

  /**
   * Who shows one of the tokens in an Authorization header, as a Basic password or as a Bearer. It takes as long whichever it is,
   * and whether or not it is one; one that is listed twice has the scopes of both.
   */
  holderOf(authorization: string | null | undefined): TokenHolder | undefined {
    const shown = tokenIn(authorization ?? '');
    if (shown === undefined) return undefined;
    const sha256 = sha256Of(shown);
    const matching = this.#tokens.filter((token) => timingSafeEqual(token.sha256, sha256));
    const [first] = matching;
    return first && { name: first.name, scopes: [...new Set(matching.flatMap(({ scopes }) => scopes))] };
  }
}

/** Whether there is a token in an Authorization header, of whomever. */
export const showsToken = (authorization: string | null | undefined): boolean =>
  (tokenIn(authorization ?? '') ?? '') !== '';

/** Any user name will do. Source: RFC 7617 section 2, RFC 6750 section 2.1. */
function tokenIn(authorization: string): string | undefined {
  const [, scheme, value = ''] = /^(basic|bearer) +(\S+) *$/i.exec(authorization) ?? [];
  if (scheme?.toLowerCase() === 'bearer') return value;
  const login = scheme === undefined ? '' : Buffer.from(value, 'base64').toString('utf8');
  const colon = login.indexOf(':');
  return colon < 0 ? undefined : login.slice(colon + 1);
}

const sha256Of = (text: string): Buffer => createHash('sha256').update(text).digest();
