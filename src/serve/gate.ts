/** Who may ask for what, where there are tokens; without one only what is for everyone. */
import { type Answer, statusAnswer } from './answer.ts';
import type { Scope, TokenHolder, Tokens } from './tokens.ts';

export interface GateOptions {
  readonly tokens: Tokens;
  /** Whether readers need one, too. */
  readonly isPrivate: boolean;
}

const ADMIN: ReadonlySet<string> = new Set(['/_refresh', '/metrics']);
/** For what asks whether we are alive, and has no secrets. */
const OPEN: ReadonlySet<string> = new Set(['/health']);

/** A browser asks for a name and a password then; the token is the password. Source: RFC 7617 section 2. */
const UNAUTHORIZED = statusAnswer(401, ['WWW-Authenticate', 'Basic realm="nixcache", charset="UTF-8"']);
const FORBIDDEN = statusAnswer(403);

export class Gate {
  readonly #tokens: Tokens;
  readonly isPrivate: boolean;
  readonly #isUploadable: boolean;
  /** Where no token could ever open it, it stays as open as the cache is. */
  readonly #hasAdmins: boolean;
  /** How often each token was shown, by its name. */
  readonly uses = new Map<string, number>();

  constructor({ tokens, isPrivate }: GateOptions) {
    this.#tokens = tokens;
    this.isPrivate = isPrivate;
    this.#isUploadable = tokens.has('push');
    this.#hasAdmins = isPrivate || tokens.has('admin');
  }

  /** What is answered instead of what `path`, which is decoded, has; undefined: the request may go on. */
  refusal(method: string, path: string, authorization: string | null | undefined): Answer | undefined {
    const scope = this.#scopeFor(method, path);
    if (scope === undefined) return undefined;
    const holder = this.holderOf(authorization);
    if (holder === undefined) return UNAUTHORIZED;
    this.uses.set(holder.name, (this.uses.get(holder.name) ?? 0) + 1);
    return holder.scopes.includes(scope) ? undefined : FORBIDDEN;
  }

  holderOf(authorization: string | null | undefined): TokenHolder | undefined {
    return this.#tokens.holderOf(authorization);
  }

  #scopeFor(method: string, path: string): Scope | undefined {
    if (OPEN.has(path)) return undefined;
    if (ADMIN.has(path) && this.#hasAdmins) return 'admin';
    if (method === 'PUT' && this.#isUploadable) return 'push';
    return this.isPrivate ? 'read' : undefined;
  }
}

const concealed = new WeakMap<Answer, Answer>();

/** The same for who has shown a token, and for no cache that others share (RFC 9111 section 3.5). */
export function forHolder(answer: Answer): Answer {
  const known = concealed.get(answer);
  if (known !== undefined) return known;
  const { whole, otherwise } = answer;
  const made: Answer = {
    ...answer,
    headers: privateHeaders(answer.headers),
    whole: whole && { ...whole, headers: privateHeaders(whole.headers) },
    otherwise: otherwise && ((error) => otherwise(error).then((other) => other && forHolder(other))),
  };
  concealed.set(answer, made);
  return made;
}

function privateHeaders(headers: readonly string[]): readonly string[] {
  const shown = headers.map((text, index) =>
    index % 2 === 1 && headers[index - 1] === 'Cache-Control' ? text.replace(/^public\b/, 'private') : text,
  );
  return [...shown, 'Vary', 'Authorization'];
}
