/**
 * The versions of a container package: one for each manifest, tagged or not.
 * Source: docs.github.com "REST API endpoints for packages".
 */

import * as z from 'zod/mini';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import type { GithubApi } from './api.ts';
import { GithubError, githubError } from './github-error.ts';
import { type PackageName, settingsPage } from './package-name.ts';

export interface PackageVersion {
  readonly id: number;
  /** Of its manifest. */
  readonly digest: string;
  readonly tags: readonly string[];
}

const packageSchema = z.object({ owner: z.object({ login: z.string() }) });
const versionSchema = z.object({
  id: z.number(),
  name: z.string(),
  metadata: z.optional(z.object({ container: z.optional(z.object({ tags: z.array(z.string()) })) })),
});

/** Where a package may be; which one depends on what the owner is. The last is for one's own that no one else may see. */
const SCOPES = ['/orgs/{owner}', '/users/{owner}', '/user'] as const;
/** The most that GitHub gives. */
const PAGE_SIZE = 100;

export class PackageVersions {
  readonly #api: GithubApi;
  readonly #package: PackageName;
  readonly #route: string;
  readonly #advice: string;

  private constructor(api: GithubApi, name: PackageName, scope: (typeof SCOPES)[number]) {
    this.#api = api;
    this.#package = name;
    this.#route = `${scope}/packages/container/{name}`;
    this.#advice = adviceFor(name, scope);
  }

  /**
   * Finds out what the owner is.
   *
   * @throws {NixcacheError} GithubError; ERR_NETWORK
   */
  static async open(api: GithubApi, name: PackageName, options: CallOptions): Promise<PackageVersions> {
    let refused: unknown;
    for (const scope of SCOPES) {
      const versions = new PackageVersions(api, name, scope);
      try {
        const { data } = await versions.#send('GET', '', 'look for', options);
        // `/user` means whoever the token is of: that may be another's package of the same name.
        if (sameLogin(parse(packageSchema, data, 'a package').owner.login, name.owner)) return versions;
      } catch (error) {
        if (!(error instanceof GithubError) || (error.isFinal && error.kind !== 'forbidden')) throw error;
        // Of several refusals the one that says most: a token without rights is told 404 of what it may not see.
        if (!(refused instanceof GithubError) || refused.kind === 'absent') refused = error;
      }
    }
    throw refused ?? notFound(name);
  }

  /** All, newest first. Concurrent deletions may make it lack some. */
  async list(options: CallOptions): Promise<readonly PackageVersion[]> {
    try {
      const route = `GET ${this.#route}/versions`;
      const items = await this.#api.paginate(route, { ...this.#package, per_page: PAGE_SIZE }, options);
      return items.map(toVersion);
    } catch (error) {
      throw githubError(error, this.#what('list the versions of'), this.#advice);
    }
  }

  /** The version as it is now; undefined if there is none. */
  async fetch(id: number, options: CallOptions): Promise<PackageVersion | undefined> {
    const answer = await this.#unlessAbsent(this.#send('GET', `/versions/${id}`, 'read versions of', options));
    return answer && toVersion(answer.data);
  }

  /** Deletes the version, and all its tags with it. */
  async delete(id: number, options: CallOptions): Promise<'deleted' | 'absent'> {
    const answer = await this.#unlessAbsent(this.#send('DELETE', `/versions/${id}`, 'delete versions of', options));
    if (answer) return 'deleted';
    // 404 is also what GitHub tells whoever may read and not delete.
    if (!(await this.fetch(id, options))) return 'absent';
    throw new GithubError(
      'forbidden',
      `${this.#what('delete versions of')}: GitHub answers 404 for what is there; ${this.#advice}`,
      { status: 404 },
    );
  }

  /** The URL that a POST restores a version at, `{id}` standing for it. */
  get restoreUrl(): string {
    const { owner, name } = this.#package;
    const path = this.#route.replace('{owner}', owner).replace('{name}', encodeURIComponent(name));
    return `${this.#api.url.href.replace(/\/$/, '')}${path}/versions/{id}/restore`;
  }

  async #send(method: 'GET' | 'DELETE', path: string, what: string, options: CallOptions) {
    try {
      return await this.#api.request(`${method} ${this.#route}${path}`, { ...this.#package }, options);
    } catch (error) {
      throw githubError(error, this.#what(what), this.#advice);
    }
  }

  async #unlessAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
    try {
      return await answer;
    } catch (error) {
      if (error instanceof GithubError && error.kind === 'absent') return undefined;
      throw error;
    }
  }

  #what(what: string): string {
    return `${what} ${this.#package.owner}/${this.#package.name}`;
  }
}

const sameLogin = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

function adviceFor(name: PackageName, scope: (typeof SCOPES)[number]): string {
  const page = settingsPage(name, scope === '/orgs/{owner}' ? 'orgs' : 'users');
  return (
    'in a workflow, the job needs `permissions: packages: write`, and its repository the role Admin under ' +
    `Manage Actions access on ${page}; elsewhere, take a classic token with read:packages and delete:packages of ` +
    'someone who administers the package'
  );
}

const notFound = ({ owner, name }: PackageName): GithubError =>
  new GithubError('absent', `look for ${owner}/${name}: GitHub knows no such package of ${owner}`, { status: 404 });

function toVersion(data: unknown): PackageVersion {
  const { id, name, metadata } = parse(versionSchema, data, 'a package version');
  return { id, digest: name, tags: metadata?.container?.tags ?? [] };
}

function parse<T>(schema: z.ZodMiniType<T>, data: unknown, what: string): T {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new NixcacheError('ERR_REGISTRY', `GitHub's API gives what is not ${what}; is GITHUB_API_URL right?`, {
    cause: parsed.error,
  });
}
