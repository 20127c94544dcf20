/** Where GitHub's REST API is; GitHub Actions says so, also on GitHub Enterprise. */

import { type Environment, variable } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { isLoopbackHost } from '../http/http-fetch.ts';

const DEFAULT_URL = 'https://api.github.com';

/** @throws {NixcacheError} ERR_USAGE when GITHUB_API_URL is no URL that a token may be sent to */
export function githubApiUrl(env: Environment): URL {
  const text = variable(env, 'GITHUB_API_URL') ?? DEFAULT_URL;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopbackHost(url.host));
  if (url && isSafe && url.username === '' && url.password === '' && url.search === '') return url;
  throw new NixcacheError('ERR_USAGE', `GITHUB_API_URL is not the https URL of an API, like ${DEFAULT_URL}`);
}
