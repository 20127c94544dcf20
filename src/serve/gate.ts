/** Who may ask for what, where there are tokens; without one only what is for everyone. */
import { type Answer, statusAnswer } from './answer.ts';
import type { Refusal } from './refusals.ts';
import { type Scope, showsToken, type TokenHolder, type Tokens } from './tokens.ts';

export interface GateOptions {
  readonly tokens: Tokens;
  /** Whether readers need one, too. */
  readonly isPrivate: boolean;
}

const ADMIN: ReadonlySet<string> = new Set(['/_refresh', '/metrics']);
/** For what asks whether we are alive, and has no secrets. */
const OPEN: ReadonlySet<string> = new Set(['/health']);

/** A browser asks for a name and a password then; the token is the password. Source: RFC 7617 section 2. */
const CHALLENGE = ['WWW-Authenticate', 'Basic realm="nixcache", charset="UTF-8"'];

function unauthorized(reason: string, advice: string): Refusal {
  return { answer: statusAnswer(401, CHALLENGE, `${reason}; ${advice}`), reason };
}

const NO_TOKEN = unauthorized(
  'no token was shown',
  'put it into netrc (machine HOST login any password TOKEN), or show it as a Bearer',
);
const UNKNOWN_TOKEN = unauthorized(
  'the token that was shown is none of this cache',
  'is it out of date, or of another one?',
);

const DEED: Readonly<Record<Scope, string>> = { read: 'read', push: 'push', admin: 'do what is for admins' };

/** A name is ASCII. */
function forbidden({ name, scopes }: TokenHolder, scope: Scope): Refusal {
  const reason = `the token ${name} may ${scopes.map((each) => DEED[each]).join(' and ')}, and not ${DEED[scope]}`;
  return { answer: statusAnswer(403, [], `${reason}; ask whoever runs this cache for one that may`), reason };
}

export class Gate {
  readonly #tokens: Tokens;
  readonly isPrivate: boolean;
  /** Whether any token may push. */
  readonly isUploadable: boolean;
  /** Where no token could ever open it, it stays as open as the cache is. */
  readonly hasAdmins: boolean;
  /** How often each token was shown, by its name. */
  readonly uses = new Map<string, number>();

  constructor({ tokens, isPrivate }: GateOptions) {
    this.#tokens = tokens;
    this.isPrivate = isPrivate;
    this.isUploadable = tokens.has('push');
    this.hasAdmins = isPrivate || tokens.has('admin');
  }

  /** Why `path`, which is decoded, is not given; undefined: the request may go on. */
  refusal(method: string, path: string, authorization: string | null | undefined): Refusal | undefined {
    const scope = this.#scopeFor(method, path);
    if (scope === undefined) return undefined;
    const holder = this.holderOf(authorization);
    if (holder === undefined) return showsToken(authorization) ? UNKNOWN_TOKEN : NO_TOKEN;
    this.uses.set(holder.name, (this.uses.get(holder.name) ?? 0) + 1);
    return holder.scopes.includes(scope) ? undefined : forbidden(holder, scope);
  }

  holderOf(authorization: string | null | undefined): TokenHolder | undefined {
    return this.#tokens.holderOf(authorization);
  }

  #scopeFor(method: string, path: string): Scope | undefined {
    if (OPEN.has(path)) return undefined;
    if (ADMIN.has(path) && this.hasAdmins) return 'admin';
    if (method === 'PUT' && this.isUploadable) return 'push';
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
