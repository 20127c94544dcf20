/**
 * Cache references: where a cache lies, as users write it. A directory is `oci:PATH`, as in skopeo and umoci; anything
 * else is a repository in a registry, without tag or digest; https:// or http:// may stand before it.
 *
 * Grammar of repositories: opencontainers/distribution-spec v1.1.1 spec.md, "Pulling manifests".
 */
import { isIPv6 } from 'node:net';
import { NixcacheError } from '../errors.ts';

export interface LayoutReference {
  readonly kind: 'layout';
  /** As written, so relative to the working directory unless absolute; a leading `~/` is the home directory. */
  readonly path: string;
}

export interface RegistryReference {
  readonly kind: 'registry';
  /** In lower case, with its port if one was written; IPv6 in brackets. */
  readonly host: string;
  /** In lower case, without leading or trailing slash. */
  readonly repository: string;
  /** Where one was written before the host. */
  readonly scheme?: 'https' | 'http' | undefined;
}

export type CacheReference = LayoutReference | RegistryReference;

const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
/** Characters of host and repository together: "many clients impose a limit of 255" (distribution-spec). */
const MAX_NAME_LENGTH = 255;
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
/** Docker Hub's names, and the one host of them that speaks the registry protocol. */
const DOCKER_HUB = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);
const DOCKER_HUB_HOST = 'registry-1.docker.io';

export const isTag = (text: string): boolean => TAG.test(text);

/** @throws {NixcacheError} ERR_USAGE, saying what to write instead */
export function parseReference(text: string): CacheReference {
  if (/^oci:(?!\/\/)/.test(text)) return parseLayout(text);
  const [prefix, scheme] = /^(https?):\/\/(?=[^/])/i.exec(text) ?? [];
  if (prefix !== undefined) {
    const reference = parseReference(text.slice(prefix.length));
    if (reference.kind === 'registry' && reference.scheme === undefined) {
      return { ...reference, scheme: scheme?.toLowerCase() === 'http' ? 'http' : 'https' };
    }
    throw usage(`the scheme '${scheme}:' stands before a registry and nothing else; write HOST/REPOSITORY or oci:PATH`);
  }
  const slash = text.indexOf('/');
  const authority = slash < 0 ? text : text.slice(0, slash);
  if (/@(?!sha\d)/.test(authority)) {
    // Not quoted: what stands before the @ may be a password.
    throw usage(
      'a cache reference holds no user name or password; leave all up to the @ away, and use --username and --password-stdin',
    );
  }
  refuseScheme(text);
  if (slash < 0) throw usage(`'${text}' names no repository; write ${hostHint(text)}`);
  const host = parseHost(authority, text);
  return { kind: 'registry', ...parseRepository(host, text.slice(slash + 1), text) };
}

/** As a user would write it. */
export function formatReference(reference: CacheReference): string {
  if (reference.kind === 'layout') return `oci:${reference.path}`;
  const host = reference.host === DOCKER_HUB_HOST ? 'docker.io' : reference.host;
  return `${host}/${reference.repository}`;
}

function parseLayout(text: string): LayoutReference {
  const path = text.slice('oci:'.length);
  if (path === '') throw usage(`'${text}' names no directory; write oci:PATH, for example oci:./cache`);
  if (path.includes('\0')) throw usage('a directory name holds no null character');
  const colon = path.lastIndexOf(':');
  if (colon > path.lastIndexOf('/')) {
    // skopeo reads PATH:TAG here, so a directory with such a name could not be read by it.
    throw usage(`a cache is a whole layout and has no tag; write oci:${path.slice(0, colon)} instead of '${text}'`);
  }
  return { kind: 'layout', path };
}

function refuseScheme(text: string): void {
  if (text.trim() === '') throw usage('the cache reference is empty; write ghcr.io/OWNER/REPO/nix-cache or oci:PATH');
  if (/^[./~]/.test(text)) throw usage(`'${text}' looks like a directory; write oci:${text}`);
  // A colon before any slash, and not that of a port.
  const scheme = /^([a-z][a-z0-9+.-]*):(?:(\/\/)|(?!\d))/i.exec(text);
  if (!scheme) return;
  const [prefix, name = '', slashes] = scheme;
  // Credentials in a URL are neither shown nor proposed.
  const rest = text.slice(prefix.length).replace(/^[^/]*@/, '');
  switch (name.toLowerCase()) {
    case 'https':
    case 'http':
    case 'docker':
      throw usage(`a cache reference has no '${name}:' before it; write ${rest || 'HOST/REPOSITORY'}`);
    case 'oci':
      if (rest === '') throw usage(`'${prefix}' names nothing; write oci:PATH for a directory, or HOST/REPOSITORY`);
      throw usage(`'${prefix}' is not understood; write oci:${rest} for a directory, or ${rest} for a registry`);
    case 'file':
    case 'dir':
      throw usage(`caches on disk are image layouts; write oci:${rest || 'PATH'}`);
    default:
      if (slashes) throw usage(`the scheme '${name}:' is not understood; write HOST/REPOSITORY or oci:PATH`);
      throw usage(`a port is a number, and '${name}:' is no known prefix; write ${name}/${rest}, or oci:PATH`);
  }
}

function parseHost(authority: string, text: string): string {
  const lower = authority.toLowerCase();
  const parts = splitPort(lower);
  const port = parts?.port === undefined ? undefined : Number(parts.port);
  if (!parts || (port !== undefined && (port < 1 || port > 65_535))) {
    throw usage(
      `'${authority}' in '${text}' is not a host; write a host name, an IPv4 address or [an IPv6 address], with :PORT if need be`,
    );
  }
  if (!lower.includes('.') && port === undefined && parts.name !== 'localhost' && !isIPv6(parts.name)) {
    throw usage(`'${text}' starts with no registry host; write ghcr.io/${text}, or add a port to the host`);
  }
  return DOCKER_HUB.has(lower) ? DOCKER_HUB_HOST : lower;
}

function parseRepository(host: string, written: string, text: string): { host: string; repository: string } {
  const extra = /^([^:@]*)([:@].*)$/.exec(written);
  if (extra) {
    const what = extra[2]?.startsWith('@') ? 'digest' : 'tag';
    throw usage(
      `a cache is a whole repository and has no ${what}; write ${text.slice(0, text.length - (extra[2]?.length ?? 0))}`,
    );
  }
  const lower = written.toLowerCase();
  if (lower === '') throw usage(`'${text}' names no repository; write ${hostHint(text.slice(0, -1))}`);
  if (!REPOSITORY.test(lower)) {
    const trimmed = lower.replace(/^\/+|\/+$/g, '').replaceAll(/\/{2,}/g, '/');
    const advice = REPOSITORY.test(trimmed)
      ? `write ${text.slice(0, text.length - written.length)}${trimmed}`
      : 'its parts between slashes are letters and digits, with single . _ or __ or any number of - between them';
    throw usage(`'${written}' is not a repository name; ${advice}`);
  }
  const repository = host === DOCKER_HUB_HOST && !lower.includes('/') ? `library/${lower}` : lower;
  if (host.length + 1 + repository.length > MAX_NAME_LENGTH) {
    throw usage(
      `'${text}' is longer than the ${MAX_NAME_LENGTH} characters that registries allow; choose a shorter repository name`,
    );
  }
  return { host, repository };
}

/** `name` of a well-formed host without brackets, and `port` if there is one. */
function splitPort(host: string): { name: string; port: string | undefined } | undefined {
  const six = /^\[([^\]]*)\](?::(\d{1,5}))?$/.exec(host);
  if (six?.[1] !== undefined) return isIPv6(six[1]) ? { name: six[1], port: six[2] } : undefined;
  const parts = /^([^:]*)(?::(\d{1,5}))?$/.exec(host);
  if (parts?.[1] === undefined || !HOST_NAME.test(parts[1])) return undefined;
  return { name: parts[1], port: parts[2] };
}

const hostHint = (text: string): string =>
  text.includes('.') || text.includes(':')
    ? `${text}/OWNER/REPO/nix-cache`
    : `ghcr.io/OWNER/REPO/nix-cache or oci:PATH`;

const usage = (message: string): NixcacheError => new NixcacheError('ERR_USAGE', message);
