/** The fake registry's token server, and who may do what. */
import { randomUUID } from 'node:crypto';
import type { FakeRegistryTraits } from './fake-registry-faults.ts';
import { type Call, Refused, readBody, sendDocument } from './fake-registry-http.ts';

export const FAKE_USER = { username: 'publisher', password: 's3cret-of-the-fake' } as const;
/** Good for the token server's POST. */
export const FAKE_IDENTITY_TOKEN = 'identity-of-the-fake';

export class FakeAuth {
  readonly #traits: FakeRegistryTraits;
  readonly #tokens = new Map<string, { readonly actions: string; readonly expiresAt: number; left: number }>();
  /** Whether anyone may read. */
  isPublic: boolean;

  constructor(traits: FakeRegistryTraits) {
    this.#traits = traits;
    this.isPublic = traits.publicRead;
  }

  /** Every token given out so far is refused from now on. */
  revoke(): void {
    this.#tokens.clear();
  }

  async serveToken(call: Call): Promise<void> {
    const { request, url } = call;
    let scope = url.searchParams.get('scope');
    let known = request.headers.authorization === basic();
    if (request.method === 'POST') {
      const form = new URLSearchParams((await readBody(request)).toString('utf8'));
      scope = form.get('scope');
      known = form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === FAKE_IDENTITY_TOKEN;
    }
    if (request.headers.authorization !== undefined && !known) throw new Refused(401, 'UNAUTHORIZED');
    if (scope === null || !/^repository:[^:]+:[a-z,]+$/.test(scope))
      throw new Refused(400, 'UNSUPPORTED', `scope ${scope}`);
    const asked = scope.slice(scope.lastIndexOf(':') + 1);
    const actions = known ? asked : this.isPublic ? 'pull' : '';
    const token = randomUUID();
    const seconds = this.#traits.tokenLifetimeSeconds;
    const expiresAt = seconds === undefined ? Number.POSITIVE_INFINITY : Date.now() + seconds * 1000;
    this.#tokens.set(token, { actions, expiresAt, left: this.#traits.tokenUses });
    const answer = { token, ...(seconds === undefined ? {} : { expires_in: seconds }) };
    sendDocument(call, { 'content-type': 'application/json' }, Buffer.from(JSON.stringify(answer)));
  }

  /** Refuses what may not do what it asks for. */
  authorize({ request, url }: Call, name: string): void {
    const { authorization } = request.headers;
    if (this.#traits.auth === 'none') {
      if (authorization !== undefined) throw new Error('sends credentials no one asked for');
      return;
    }
    const reads = request.method === 'GET' || request.method === 'HEAD';
    const action = reads ? 'pull' : request.method === 'DELETE' ? 'delete' : 'push';
    if (this.#traits.auth === 'basic') {
      if (authorization === basic() || (reads && this.isPublic)) return;
      throw new Refused(401, 'UNAUTHORIZED', 'who are you?', { 'www-authenticate': 'Basic realm="the fake"' });
    }
    const token = this.#tokens.get(authorization?.replace(/^Bearer /, '') ?? '');
    if (token !== undefined && token.expiresAt > Date.now() && token.left > 0) {
      token.left -= 1;
      if (token.actions.split(',').includes(action)) return;
      if (token.actions !== '') throw new Refused(403, 'DENIED', 'permission_denied: write_package');
    }
    const scope = `repository:${name}:${action === 'pull' ? 'pull' : `pull,${action}`}`;
    throw new Refused(401, 'UNAUTHORIZED', 'authentication required', {
      'www-authenticate': `Bearer realm="http://${url.host}/token",service="fake, the registry",scope="${scope}"`,
    });
  }
}

const basic = (): string => `Basic ${Buffer.from(`${FAKE_USER.username}:${FAKE_USER.password}`).toString('base64')}`;
