/** Failures below HTTP: no connection, no TLS, no whole answer. Told apart by error code, never by message. */
import { messageOf, NixcacheError } from '../errors.ts';
import { describeCertificateError } from './certificate-error.ts';
import { type Asked, describeRequest } from './http-fetch.ts';

export class NetworkError extends NixcacheError {
  readonly host: string;
  /** Whether the same request may succeed a little later. */
  readonly retryable: boolean;
  /** Whether the far side let a whole deadline pass without a byte. */
  readonly silent: boolean;
  /** Whether the far side answered, and what came is not HTTP. */
  readonly garbled: boolean;

  constructor(
    message: string,
    options: ErrorOptions & {
      readonly host: string;
      readonly retryable: boolean;
      readonly silent?: boolean;
      readonly garbled?: boolean;
    },
  ) {
    super('ERR_NETWORK', message, { cause: options.cause });
    this.host = options.host;
    this.retryable = options.retryable;
    this.silent = options.silent ?? false;
    this.garbled = options.garbled ?? false;
  }
}

/** A proxy would not let a request through. */
export class ProxyRefusal extends Error {
  readonly status: number;

  constructor(status: number) {
    super(`the proxy answered ${status}`);
    this.status = status;
  }
}

/**
 * What `error`, thrown while `request` ran, means; bugs of ours come back as they are. `isInBody`: the headers of the answer
 * had come.
 */
export function networkError(error: unknown, request: Asked, { isInBody = true } = {}): unknown {
  const { url, via } = request;
  if (error instanceof NixcacheError) return error;
  if (error instanceof ProxyRefusal) {
    const reason = `${describeRequest(request)}: ${refusedBy(error.status, via ?? 'between', url.host)}`;
    return new NetworkError(reason, { cause: error, host: url.host, retryable: false });
  }
  const code = codeOf(error);
  if (isOurs(error, code)) return error;
  const isGarbled = breaksRules(error, code, isInBody);
  const diagnosis = isGarbled ? garbled(error, request) : diagnose(code, error, request);
  return new NetworkError(`${describeRequest(request)}: ${diagnosis.reason}`, {
    ...{ cause: error, host: url.host, ...diagnosis },
  });
}

export const timeoutError = (what: string, request: Asked, { silent = false, retryable = true } = {}): NetworkError =>
  new NetworkError(`${describeRequest(request)}: ${what}; is ${request.url.host} overloaded, or the connection slow?`, {
    ...{ host: request.url.host, retryable, silent },
  });

/** Whether nobody took the connection in time, so that as far as is known nobody is there. */
export const isConnectTimeout = (error: unknown): boolean =>
  error instanceof NetworkError && CONNECT_TIMEOUTS.has(codeOf(error.cause) ?? '');

const CONNECT_TIMEOUTS: ReadonlySet<string> = new Set(['ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT']);

const OUR_BUGS: ReadonlySet<string> = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_DESTROYED',
  'UND_ERR_CLOSED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
]);

/**
 * What nobody on the other side can bring about. Everything else undici throws because of what it was sent, with a code or
 * without: its parser has none for most of what is not HTTP, and some of what it asserts depends on the answer.
 */
const isOurs = (error: unknown, code: string | undefined): boolean =>
  !(error instanceof Error) ||
  (code === undefined ? BUG_CLASSES.some((Class) => error instanceof Class) : OUR_BUGS.has(code));

const BUG_CLASSES = [TypeError, ReferenceError, SyntaxError, EvalError];

/** `code` of an error of Node or undici: a system error number's name, an OpenSSL verdict, `UND_ERR_*`, `HPE_*`. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string' && !/^ERR_(?!TLS|SSL|STREAM_PREMATURE)/.test(error.code)) {
    return error.code;
  }
  // Every address of a host failed: the first failure speaks for all.
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return error.cause === undefined ? undefined : codeOf(error.cause);
}

/**
 * Whether the far side broke the rules of HTTP, as it will each time. undici has no code of its own for a 100 that nobody asked
 * for, and one code for a length that contradicts itself and, once the body comes, for one that is cut short.
 */
const breaksRules = (error: unknown, code: string | undefined, isInBody: boolean): boolean =>
  error instanceof Error &&
  (error.name === 'HTTPParserError' ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    (code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' && !isInBody) ||
    (code === 'UND_ERR_SOCKET' && /^bad (response|upgrade)$/.test(error.message)));

const garbled = (error: unknown, { url, via }: Asked): Diagnosis => ({
  ...noHttp(via === undefined ? url.host : `the proxy ${via}`, error),
  garbled: true,
});

const noHttp = (host: string, error: unknown): Diagnosis => ({
  reason: `${host} does not answer as HTTP servers do (${messageOf(error)}); is the address right, and the port?`,
  retryable: false,
});

interface Diagnosis {
  readonly reason: string;
  readonly retryable: boolean;
  readonly garbled?: boolean;
}

/** What a proxy means by `status` in answer to CONNECT. None of it is better a few seconds later. */
function refusedBy(status: number, proxy: string, host: string): string {
  switch (status) {
    case 407:
      return `the proxy ${proxy} wants a login (407); write it into the variable: http://user:password@host:port`;
    case 502:
    case 503:
    case 504:
      return `the proxy ${proxy} cannot reach ${host} (${status}); is the name right, or must it be in NO_PROXY?`;
    default:
      return `the proxy ${proxy} does not let us through to ${host} (${status}); ask who runs it, or put the host into NO_PROXY`;
  }
}

function diagnose(code: string | undefined, error: unknown, { url, via }: Asked): Diagnosis {
  const { protocol } = url;
  // Whoever goes through a proxy connects to that, and to nobody else.
  const host = via === undefined ? url.host : `the proxy ${via}`;
  const hostname = via === undefined ? url.hostname : host;
  const again = (reason: string): Diagnosis => ({ reason, retryable: true });
  const never = (reason: string): Diagnosis => ({ reason, retryable: false });
  if (code === undefined) return noHttp(host, error);
  switch (code) {
    case 'ENOTFOUND':
      return never(
        `${via === undefined ? 'host ' : ''}${hostname} not found; is the name right, and is there a network?`,
      );
    case 'EAI_AGAIN':
      return again(
        `${via === undefined ? 'host ' : ''}${hostname} could not be looked up; is there a network, and does DNS answer?`,
      );
    case 'ECONNREFUSED':
      return again(`${host} refused the connection; is a server running there, and is the port right?`);
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return again(`${host} cannot be reached; is there a network, or is a proxy needed (HTTPS_PROXY)?`);
    case 'ETIMEDOUT':
    case 'UND_ERR_CONNECT_TIMEOUT':
      return again(`no connection to ${host} in time; is there a network, or is a proxy needed (HTTPS_PROXY)?`);
    case 'UND_ERR_HEADERS_TIMEOUT':
      return again(`${host} did not answer in time`);
    case 'UND_ERR_BODY_TIMEOUT':
      return again(`${host} stopped sending in the middle of the body`);
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return never(
        `${host} does not speak ${protocol === 'https:' ? 'TLS; is it a plain http server (--plain-http)?' : 'http'}`,
      );
  }
  // A proxy hands on TLS, and some make certificates of their own for it.
  const certified = via === undefined || protocol !== 'https:' ? host : `${url.host}, as ${host} hands it on,`;
  const certificate = describeCertificateError(code, error, certified);
  if (certificate !== undefined) return never(certificate);
  if (code.startsWith('UND_ERR_SOCKS5')) {
    return never(`${host} does not let us through to ${url.host} (${messageOf(error)}); is its login right?`);
  }
  if (/^(ERR_TLS|ERR_SSL|UND_ERR_PRX_TLS)/.test(code)) return never(`TLS with ${host} failed (${code})`);
  return again(`the connection to ${host} broke (${code}: ${messageOf(error)})`);
}
