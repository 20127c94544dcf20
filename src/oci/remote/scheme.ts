/**
 * Whether a registry is spoken to with TLS. Everywhere, but on this machine, where registries mostly have none: there it is
 * found out, as oras and crane do.
 */
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import { readRefusal } from '../../http/http-error.ts';
import { type HttpFetch, isLoopbackHost } from '../../http/http-fetch.ts';
import { discardBody } from '../../http/redirects.ts';
import type { RegistryReference } from '../reference.ts';

export type Scheme = 'https' | 'http';

/** As far as the reference tells; undefined when only the registry can say. */
export function schemeOf({ host, scheme }: RegistryReference, plainHttp: boolean): Scheme | undefined {
  if (scheme !== undefined) return scheme;
  if (plainHttp) return 'http';
  return isLoopbackHost(host) ? undefined : 'https';
}

/** A registry on this machine answers at once, or not at all. */
const PROBE_MS = 3000;

/** Asks the registry where the reference does not tell. What is wrong with it, the first proper request says. */
export async function findScheme(
  reference: RegistryReference,
  { http, plainHttp, signal }: CallOptions & { readonly http: HttpFetch; readonly plainHttp: boolean },
): Promise<Scheme> {
  return schemeOf(reference, plainHttp) ?? askScheme(reference.host, http, signal);
}

async function askScheme(host: string, http: HttpFetch, signal: AbortSignal | undefined): Promise<Scheme> {
  const startedMs = performance.now();
  const request = { timeoutMs: PROBE_MS, maxRedirects: 0, signal };
  try {
    const response = await http.request({ ...request, url: `http://${host}/v2/` });
    if (response.status !== 400) {
      await discardBody(response.body);
      return 'http';
    }
    const { bodyExcerpt } = await readRefusal('GET', response, Date.now());
    return wantsTls(bodyExcerpt) ? 'https' : 'http';
  } catch (error) {
    if (isAborted(signal) || isNixcacheError(error, 'ERR_USAGE')) throw error;
    if (codeBelow(error) === 'ECONNREFUSED') return 'http';
  }
  if (performance.now() - startedMs >= PROBE_MS) return 'http'; // nobody answers: one wait is enough
  // No HTTP came back: a hang-up, or an alert of TLS. Whoever answers in TLS speaks it.
  try {
    const response = await http.request({ ...request, url: `https://${host}/v2/` });
    await discardBody(response.body);
    return 'https';
  } catch (error) {
    // As for certificates to trust that cannot be had: not what is at the other end is at fault.
    if (isAborted(signal) || isNixcacheError(error, 'ERR_USAGE')) throw error;
    return isCertificateFault(error) ? 'https' : 'http';
  }
}

const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

/** What Go, nginx, Apache and HAProxy say to a plain request on a port for TLS. */
export const wantsTls = (body: string): boolean =>
  /HTTP request (was sent )?to (an )?HTTPS|plain HTTP (request )?to an? (HTTPS|SSL)|speaking plain HTTP to an SSL/i.test(
    body,
  );

/** There was TLS, and only its certificate was not accepted: the request that counts says so again. */
const isCertificateFault = (error: unknown): boolean =>
  /^(ERR_TLS_CERT|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|INVALID_CA)/.test(codeBelow(error));

/** The code of what caused `error`. */
const codeBelow = (error: unknown): string => {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
};
