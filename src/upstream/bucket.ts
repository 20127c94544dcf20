/** Buckets that are binary caches, as `s3://…` and `gs://…` name them for Nix: read over HTTP, signed where there are keys. */
import { AwsV4Signer } from 'aws4fetch';
import { NixcacheError } from '../errors.ts';

export interface Bucket {
  readonly kind: 's3' | 'gs';
  readonly region: string;
}

export interface BucketKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
}

/** As of Nix. */
const DEFAULT_REGION = 'us-east-1';
/** Whatever it is: Google's storage finds its buckets itself. */
const GOOGLE_REGION = 'auto';
const GOOGLE = 'https://storage.googleapis.com';

export const isBucketUrl = ({ protocol }: URL): boolean => protocol === 's3:' || protocol === 'gs:';

interface Located {
  /** Of the bucket, over HTTP; the parameters that are not about where it is are left. */
  readonly url: URL;
  readonly bucket: Bucket;
}

/**
 * `s3://BUCKET[/PATH][?endpoint=HOST&region=REGION&scheme=http]` or `gs://BUCKET[/PATH]`. `endpoint` may be a URL.
 *
 * @throws {NixcacheError} ERR_USAGE
 */
export function locateBucket(named: URL): Located {
  const parameters = new Map<string, string>();
  const rest: string[] = [];
  for (const pair of named.search.slice(1).split('&')) {
    const [key = '', value = ''] = pair.split('=', 2);
    if (['endpoint', 'region', 'scheme'].includes(key)) parameters.set(key, decoded(value));
    else if (pair !== '') rest.push(pair);
  }
  const name = named.hostname;
  const fail = (reason: string): never => {
    throw new NixcacheError('ERR_USAGE', `upstream ${named.protocol}//${name}: ${reason}`);
  };
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{1,221}$/.test(name)) fail('that is not the name of a bucket');
  if (named.username !== '' || named.password !== '') fail('keys stand in the environment, not in the URL');
  const query = rest.length === 0 ? '' : `?${rest.join('&')}`;
  if (named.protocol === 'gs:') {
    return {
      url: new URL(`${GOOGLE}/${name}${named.pathname}${query}`),
      bucket: { kind: 'gs', region: GOOGLE_REGION },
    };
  }
  const region = parameters.get('region') ?? DEFAULT_REGION;
  if (!/^[a-z0-9-]{1,40}$/.test(region)) fail(`'${region}' is not a region`);
  const root =
    rootOf(name, region, parameters.get('endpoint'), parameters.get('scheme')) ?? fail('its endpoint is no host');
  return { url: new URL(`${root}${named.pathname}${query}`), bucket: { kind: 's3', region } };
}

/** What is not encoded right is no host and no region. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** A bucket at an endpoint is named by its path; AWS wants it in the host, where a certificate is for it. */
function rootOf(name: string, region: string, endpoint: string | undefined, scheme = 'https'): string | undefined {
  if (!/^https?$/.test(scheme)) return undefined;
  if (endpoint === undefined) {
    const host = `s3.${region}.amazonaws.com`;
    return name.includes('.') ? `${scheme}://${host}/${name}` : `${scheme}://${name}.${host}`;
  }
  const url = URL.parse(/^https?:\/\//.test(endpoint) ? endpoint : `${scheme}://${endpoint}`);
  const isHost = url !== null && url.host !== '' && url.username === '' && url.pathname === '/' && url.search === '';
  return isHost ? `${url.origin}/${name}` : undefined;
}

/**
 * What a GET of `url` says to be let in. Nothing else is signed: proxies change other headers on their way.
 * Source: AWS Signature Version 4, which Google's XML API takes as well.
 */
export async function signedHeaders(
  url: URL,
  { region }: Bucket,
  keys: BucketKeys,
  now: Date,
): Promise<Readonly<Record<string, string>>> {
  const { accessKeyId, secretAccessKey, sessionToken } = keys;
  const datetime = now.toISOString().replaceAll(/[:-]|\.\d{3}/g, '');
  const signer = new AwsV4Signer({
    ...{ method: 'GET', url: url.href, service: 's3', region, accessKeyId, secretAccessKey, datetime },
    ...(sessionToken === undefined ? {} : { sessionToken }),
  });
  const { headers } = await signer.sign();
  return Object.fromEntries([...headers].filter(([name]) => name !== 'host'));
}
