/** Docker's credential helpers: `docker-credential-NAME get`. Protocol: docker/docker-credential-helpers README.md */
import { execa } from 'execa';
import * as z from 'zod/mini';
import { childEnvironment } from '../../child-environment.ts';
import type { Environment } from '../../environment.ts';
import { NixcacheError } from '../../errors.ts';
import type { Credentials } from '../remote/credentials.ts';

const answerSchema = z.object({ Username: z.string(), Secret: z.string() });

/** A helper may ask an agent or a cloud; none needs longer. */
const TIMEOUT_MS = 30_000;

/** What the protocol prints, with exit code 1, when it knows no credentials (credentials/error.go). */
const NOT_FOUND = 'credentials not found in native keychain';

/**
 * Asks the helper called `name` for `serverUrl`; undefined if it has none. What it prints is never put into a message.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED when the helper is absent, fails or answers nonsense
 */
export async function askCredentialHelper(
  name: string,
  serverUrl: string,
  env: Environment,
  signal?: AbortSignal,
): Promise<Credentials | undefined> {
  const command = `docker-credential-${name}`;
  const fail = (reason: string): NixcacheError =>
    new NixcacheError('ERR_UNAUTHORIZED', `ask ${command} for the credentials of ${serverUrl}: ${reason}`);
  if (!/^[\w.+-]+$/.test(name)) throw fail('not the name of a helper');
  const result = await execa(command, ['get'], {
    input: serverUrl,
    env: childEnvironment('credential-helper', env),
    extendEnv: false,
    timeout: TIMEOUT_MS,
    maxBuffer: 64 * 1024,
    reject: false,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  if (result.code === 'ENOENT') throw fail('it is not installed; install it or remove it from docker’s config.json');
  if (result.timedOut) throw fail(`no answer within ${TIMEOUT_MS / 1000} s`);
  if (result.exitCode !== 0) {
    if (result.stdout.trim() === NOT_FOUND) return undefined;
    throw fail(`it failed with exit code ${result.exitCode ?? result.signal ?? 'none'}`);
  }
  const answer = answerSchema.safeParse(parseJson(result.stdout));
  if (!answer.success) throw fail('its answer is not the JSON it should be');
  const { Username: username, Secret: secret } = answer.data;
  // docker/cli: this user name says that the secret is an identity token.
  if (username === '<token>') return { type: 'identity-token', token: secret };
  return { type: 'basic', username, password: secret };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
