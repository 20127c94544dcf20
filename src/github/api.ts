/**
 * GitHub's REST API through octokit: at GitHub's pace (a second between deletions), patient with its secondary limits and
 * with what fails on its side, and aware of what is left of the hour's budget.
 *
 * Sources: docs.github.com "Rate limits for the REST API" and "Best practices for using the REST API".
 */

import { Octokit } from '@octokit/core';
import { composePaginateRest } from '@octokit/plugin-paginate-rest';
import { retry } from '@octokit/plugin-retry';
import { throttling } from '@octokit/plugin-throttling';
import Bottleneck from 'bottleneck';
import type { CallOptions } from '../call-options.ts';
import { abortable, abortReason } from '../call-options.ts';
import type { HttpFetch } from '../http/http-fetch.ts';
import { USER_AGENT } from '../version.ts';
import { octokitFetch } from './octokit-fetch.ts';

export interface GithubApiOptions {
  /** `https://api.github.com` */
  readonly url: URL;
  readonly token: string;
  readonly http: HttpFetch;
  /** Tells of a wait that GitHub asks for. */
  readonly onWait?: ((seconds: number) => void) | undefined;
  /** Milliseconds that a second of waiting takes; less in tests only. */
  readonly secondMs?: number | undefined;
}

/** Requests that are left, and when there will be new ones. */
export interface RateBudget {
  readonly remaining: number;
  /** Unix milliseconds. */
  readonly resetsAt: number;
}

export interface GithubAnswer {
  readonly status: number;
  readonly data: unknown;
}

type Parameters = Readonly<Record<string, string | number>>;

/** All waits for secondary limits together: a job must not stand still for longer. */
const MAX_WAIT_SECONDS = 10 * 60;
const HEADERS = { accept: 'application/vnd.github+json', 'x-github-api-version': '2022-11-28' } as const;
/** Those that GitHub will answer no better; 429 is the throttling's, which knows how long to wait. */
const DO_NOT_RETRY = [400, 401, 403, 404, 410, 422, 429, 451];

const Client = Octokit.plugin(throttling, retry);

export class GithubApi {
  readonly url: URL;
  readonly #octokit: InstanceType<typeof Client>;
  #budget: RateBudget | undefined;
  #waitedSeconds = 0;

  constructor({ url, token, http, onWait, secondMs = 1000 }: GithubApiOptions) {
    this.url = url;
    const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const fetch = octokitFetch({ http, origin: url.origin, onHeaders: (headers) => this.#learn(headers) });
    this.#octokit = new Client({
      auth: token,
      baseUrl: url.href.replace(/\/$/, ''),
      userAgent: USER_AGENT,
      log: silent,
      request: { fetch, log: silent },
      retry: { doNotRetry: DO_NOT_RETRY, retryAfterBaseValue: secondMs },
      throttle: {
        retryAfterBaseValue: secondMs,
        write: new Bottleneck.Group({ maxConcurrent: 1, minTime: secondMs }),
        // An hour at worst: the next gc does the rest.
        onRateLimit: () => false,
        onSecondaryRateLimit: (seconds: number) => {
          if (this.#waitedSeconds + seconds > MAX_WAIT_SECONDS) return false;
          this.#waitedSeconds += seconds;
          onWait?.(seconds);
          return true;
        },
      },
    });
  }

  /** What the last answer said is left; undefined before the first. */
  get budget(): RateBudget | undefined {
    return this.#budget;
  }

  /** Sends `route`, `GET /orgs/{org}`; what octokit throws is for `githubError`. */
  async request(route: string, parameters: Parameters, { signal }: CallOptions = {}): Promise<GithubAnswer> {
    return this.#run((request) => this.#octokit.request(route, { ...parameters, headers: HEADERS, request }), signal);
  }

  /** The items of all pages. */
  async paginate(route: string, parameters: Parameters, { signal }: CallOptions = {}): Promise<readonly unknown[]> {
    return this.#run(
      // The general form: the typed ones know no route by a variable.
      () => composePaginateRest(this.#octokit, route, { ...parameters, headers: HEADERS }) as Promise<unknown[]>,
      signal,
    );
  }

  /** octokit waits without looking at the signal: so we do not wait for octokit. */
  async #run<T>(work: (request: { signal?: AbortSignal }) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    if (signal?.aborted) throw abortReason(signal);
    return abortable(work(signal === undefined ? {} : { signal }), signal);
  }

  #learn(headers: Headers): void {
    const remaining = headers.get('x-ratelimit-remaining');
    const reset = headers.get('x-ratelimit-reset');
    if (remaining === null || !/^\d+$/.test(remaining) || !/^\d+$/.test(reset ?? '')) return;
    this.#budget = { remaining: Number(remaining), resetsAt: Number(reset) * 1000 };
  }
}
