/** Keys for buckets, from the variables that every program for them reads. */
import { type Environment, variable } from '../environment.ts';
import type { Bucket, BucketKeys } from '../upstream/bucket.ts';

/** How Google's HMAC keys begin: those of one cloud are no use in the other. */
const GOOGLE_KEY = /^GOOG/;

/** Undefined where there are none for such a bucket: it is then read as everyone may. */
export function bucketKeys({ kind }: Bucket, env: Environment): BucketKeys | undefined {
  const [accessKeyId, secretAccessKey] = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'].map((name) =>
    variable(env, name),
  );
  if (accessKeyId === undefined || secretAccessKey === undefined) return undefined;
  if (kind === 'gs' && !GOOGLE_KEY.test(accessKeyId)) return undefined;
  return { accessKeyId, secretAccessKey, sessionToken: variable(env, 'AWS_SESSION_TOKEN') };
}
