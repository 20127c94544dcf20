/**
 * A strict GitHub in this process: its Packages API over node:http on loopback, in front of a FakeRegistry. Deleting a
 * version takes its manifest, all its tags and, as GHCR does, the blobs that nothing else names out of that registry.
 * Whatever a good client never does is recorded in `violations`, and `close` fails with them.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';
import { FakePackage, type FakeVersion } from './fake-package.ts';
import type { FakeRegistry } from './fake-registry.ts';
import { type Fault, type FaultAct, FaultQueue } from './fake-registry-faults.ts';
import { hostOf, listen } from './fake-registry-http.ts';

export interface FakeGithubTraits {
  readonly owner: { readonly login: string; readonly type: 'Organization' | 'User' };
  /** By token. */
  readonly tokens: Readonly<Record<string, FakeTokenRights>>;
  /** A public package cannot lose versions with more than 5000 downloads. */
  readonly visibility: 'public' | 'private';
  /** Requests an hour. */
  readonly hourlyLimit: number;
  /** Unix milliseconds. */
  readonly now: () => number;
  /** Deleting a version takes all its blobs, whoever else names them: what nobody knows GHCR not to do. */
  readonly takesSharedBlobs: boolean;
}

export interface FakeTokenRights {
  /** Whose it is; a job's token is no one's. */
  readonly login?: string;
  readonly reads: boolean;
  /** `hidden`: refused with 404, as of what one may not see. */
  readonly deletes: boolean | 'hidden';
}

export const FAKE_GITHUB_TOKEN = 'ghs_token0of0the0fake0github';
const HOUR_MS = 60 * 60 * 1000;
const ALL_RIGHTS: FakeTokenRights = { reads: true, deletes: true };

const TRAITS: FakeGithubTraits = {
  owner: { login: 'Octo-Org', type: 'Organization' },
  tokens: { [FAKE_GITHUB_TOKEN]: ALL_RIGHTS },
  visibility: 'private',
  hourlyLimit: 1000,
  now: () => Date.now(),
  takesSharedBlobs: false,
};

export interface FakeGithubRequest {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly status: number;
}

class Answer extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

const ROUTE =
  /^\/(?:orgs\/([^/]+)|users\/([^/]+)|(user))\/packages\/container\/([^/]+)(\/versions(?:\/(\d+)(\/restore)?)?)?$/;

export class FakeGithub {
  readonly requests: FakeGithubRequest[] = [];
  readonly violations: string[] = [];
  readonly package: FakePackage;
  traits: FakeGithubTraits;
  /** Called before each request is answered: what others do meanwhile. */
  onRequest: (method: string, path: string) => void = () => {};
  readonly #name: string;
  readonly #faults = new FaultQueue();
  readonly #server: Server;
  /** Answers that never arrive. */
  readonly #lost = new WeakSet<ServerResponse>();
  #used = 0;
  #windowEnds = 0;

  private constructor(registry: FakeRegistry, repository: string, traits: FakeGithubTraits) {
    this.traits = traits;
    this.#name = repository.slice(repository.indexOf('/') + 1);
    this.package = new FakePackage(registry.repository(repository));
    this.#server = createServer((request, response) => {
      request.resume();
      const url = new URL(request.url ?? '/', `http://${request.headers.host}`);
      const act = this.#faults.take('registry', request.method ?? '', url);
      const path = url.pathname + url.search;
      response.once('close', () => {
        this.requests.push({ method: request.method ?? '', path, status: response.statusCode });
      });
      if (act?.type === 'reset') return void request.socket.resetAndDestroy();
      if (act?.type === 'lose-answer') this.#lost.add(response);
      this.onRequest(request.method ?? '', path);
      this.#checkManners(request.headers, `${request.method} ${path}`);
      try {
        this.#answer(request.method ?? '', url, request.headers.authorization, response, act);
      } catch (error) {
        if (!(error instanceof Answer)) throw error;
        this.#send(
          response,
          error.status,
          { message: error.message, documentation_url: 'https://docs' },
          error.headers,
        );
      }
    });
  }

  /** `repository` is below the registry's host, its first part the owner in lower case. */
  static async start(
    registry: FakeRegistry,
    repository: string,
    traits: Partial<FakeGithubTraits> = {},
  ): Promise<FakeGithub> {
    const github = new FakeGithub(registry, repository, { ...TRAITS, ...traits });
    await listen(github.#server);
    return github;
  }

  get url(): string {
    return `http://${hostOf(this.#server)}`;
  }

  inject(fault: Fault): void {
    this.#faults.add(fault);
  }

  /** Requests that were answered so, or at all. */
  count(method: string, path: RegExp = /./, status?: number): number {
    return this.requests.filter(
      (each) => each.method === method && path.test(each.path) && (status === undefined || each.status === status),
    ).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    if (this.violations.length > 0) throw new Error(`the client misbehaved:\n${this.violations.join('\n')}`);
  }

  #checkManners(headers: Readonly<Record<string, unknown>>, what: string): void {
    const say = (why: string): number => this.violations.push(`${what}: ${why}`);
    if (!String(headers['user-agent']).startsWith('nixcache/')) say(`user agent ${headers['user-agent']}`);
    if (headers['accept'] !== 'application/vnd.github+json') say(`accepts ${headers['accept']}`);
    if (headers['x-github-api-version'] !== '2022-11-28') say('names no version of the API');
    if (headers['authorization'] === undefined) say('sends no token');
    if (what.includes(this.#token(headers['authorization']))) say('has the token in the URL');
  }

  #token = (authorization: unknown): string => String(authorization).replace(/^(token|bearer) /i, '');

  #answer(
    method: string,
    url: URL,
    authorization: string | undefined,
    response: ServerResponse,
    act: FaultAct | undefined,
  ): void {
    if (act?.type === 'answer') {
      response.writeHead(act.status, { 'content-type': 'application/json', ...act.headers }).end(act.body ?? '');
      return;
    }
    const rights = this.traits.tokens[this.#token(authorization)];
    if (!rights) throw new Answer(401, 'Bad credentials');
    this.#spend();
    const [, org, user, own, name = '', versions, id, restore] = ROUTE.exec(url.pathname) ?? [];
    const { owner } = this.traits;
    const isHere =
      decodeURIComponent(name) === this.#name &&
      ((owner.type === 'Organization' && org?.toLowerCase() === owner.login.toLowerCase()) ||
        (owner.type === 'User' && user?.toLowerCase() === owner.login.toLowerCase()) ||
        (owner.type === 'User' && own !== undefined && rights.login === owner.login));
    if (!isHere) {
      if (name === '') this.violations.push(`${method} ${url.pathname} is not of the Packages API`);
      throw new Answer(404, 'Package not found.');
    }
    if (!rights.reads) throw new Answer(403, 'You need at least read:packages scope to get a package.');
    const what = versions === undefined ? 'package' : id === undefined ? 'versions' : (restore ?? 'version');
    if (method === 'GET' && what === 'package') this.#send(response, 200, this.#packageJson());
    else if (method === 'GET' && what === 'versions') this.#list(url, response);
    else if (method === 'GET' && what === 'version') this.#send(response, 200, this.#find(Number(id)));
    else if (method === 'DELETE' && what === 'version') this.#delete(rights, Number(id), response);
    else {
      this.violations.push(`${method} ${url.pathname} is not what a gc does`);
      throw new Answer(404, 'Not Found');
    }
  }

  #packageJson() {
    const { owner, visibility } = this.traits;
    return { name: this.#name, package_type: 'container', owner, visibility };
  }

  #list({ pathname, searchParams }: URL, response: ServerResponse): void {
    const size = Number(searchParams.get('per_page'));
    const page = Number(searchParams.get('page') ?? 1);
    if (size !== 100) this.violations.push(`per_page=${searchParams.get('per_page')}: 100 cost as much as one`);
    const all = this.package.versions();
    const items = all.slice((page - 1) * size, page * size);
    const next = `${this.url}${pathname}?per_page=${size}&page=${page + 1}`;
    this.#send(response, 200, items, page * size < all.length ? { link: `<${next}>; rel="next"` } : {});
  }

  #find(id: number): FakeVersion {
    const version = this.package.versions().find((each) => each.id === id);
    if (!version) throw new Answer(404, 'Package not found.');
    return version;
  }

  #delete({ deletes }: FakeTokenRights, id: number, response: ServerResponse): void {
    const version = this.#find(id);
    if (deletes === 'hidden') throw new Answer(404, 'Not Found');
    if (!deletes) throw new Answer(403, 'You need at least delete:packages scope to delete a package.');
    const { tags } = version.metadata.container;
    if (
      tags.length > 0 &&
      this.package.versions().filter((each) => each.metadata.container.tags.length > 0).length === 1
    )
      throw new Answer(
        400,
        'You cannot delete the last tagged version of a package. You must delete the package instead.',
      );
    if (this.traits.visibility === 'public' && this.package.downloadsOf(id) > 5000)
      throw new Answer(
        400,
        'Publicly visible package versions with more than 5000 downloads cannot be deleted. Contact GitHub support for further assistance.',
      );
    this.package.delete(id, { takesSharedBlobs: this.traits.takesSharedBlobs });
    this.#send(response, 204);
  }

  /** One request of the hour's budget. */
  #spend(): void {
    const now = this.traits.now();
    if (now >= this.#windowEnds) {
      this.#windowEnds = now + HOUR_MS;
      this.#used = 0;
    }
    if (this.#used >= this.traits.hourlyLimit) throw new Answer(403, 'API rate limit exceeded for installation ID 1.');
    this.#used += 1;
  }

  #send(
    response: ServerResponse,
    status: number,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): void {
    const { hourlyLimit } = this.traits;
    if (this.#lost.has(response)) {
      response.destroy();
      return;
    }
    response.writeHead(status, {
      ...(body === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }),
      'x-ratelimit-limit': hourlyLimit,
      'x-ratelimit-remaining': hourlyLimit - this.#used,
      'x-ratelimit-used': this.#used,
      'x-ratelimit-reset': Math.ceil(this.#windowEnds / 1000),
      'x-ratelimit-resource': 'core',
      ...headers,
    });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  }
}

/** GitHub's answer to too much in too short a time. */
export const secondaryLimit = (status: 403 | 429, retryAfterSeconds: number): FaultAct => ({
  type: 'answer',
  status,
  headers: {
    'retry-after': String(retryAfterSeconds),
    'x-ratelimit-remaining': '900',
    'x-ratelimit-reset': '9999999999',
  },
  body: JSON.stringify({
    message: 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.',
  }),
});
