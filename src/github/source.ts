/** Where a job of GitHub Actions has its flake from: what its checkout directory does not tell. */
import { posix, relative } from 'node:path';
import { type Environment, variable } from '../environment.ts';
import { isGitHubActions } from './actions.ts';

export interface GitHubSource {
  /** A flake reference that means the same everywhere; undefined when the flake is not the job's own repository. */
  readonly sourceName: string | undefined;
  /** For the annotation that links a package of GHCR to its repository. */
  readonly sourceUrl: string;
}

const GITHUB = 'https://github.com';

/** Undefined outside of GitHub Actions. A flake is as the user gave it, a Nix expression without one an absolute path. */
export function githubSource(env: Environment, from?: string | { readonly file: string }): GitHubSource | undefined {
  const repository = variable(env, 'GITHUB_REPOSITORY');
  if (!isGitHubActions(env) || repository === undefined) return undefined;
  const server = variable(env, 'GITHUB_SERVER_URL') ?? GITHUB;
  const sourceUrl = `${server}/${repository}`;
  const name = server === GITHUB ? `github:${repository}` : `git+${sourceUrl}`;
  if (typeof from === 'object') {
    const file = relative(variable(env, 'GITHUB_WORKSPACE') ?? process.cwd(), from.file);
    const isOwn = file !== '..' && !file.startsWith('../');
    return { sourceName: isOwn ? `${name}?file=${file === '' ? '.' : file}` : undefined, sourceUrl };
  }
  const flake = from;
  if (flake === undefined || (flake !== '.' && !flake.startsWith('./'))) return { sourceName: undefined, sourceUrl };
  const directory = posix.normalize(flake).replace(/\/$/, '');
  return { sourceName: directory === '.' ? name : `${name}?dir=${directory}`, sourceUrl };
}
