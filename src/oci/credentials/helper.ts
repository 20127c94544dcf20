/** Asks docker's credential helpers: programs that print a login, after asking an agent, a cloud or the user. */
import { execa } from 'execa';
import * as z from 'zod/mini';
import { boundedJsonOf } from '../../bounded-json.ts';
import { abortReason, type CallOptions } from '../../call-options.ts';
import { childEnvironment } from '../../child-environment.ts';
import type { Environment } from '../../environment.ts';
import { NixcacheError } from '../../errors.ts';
import { groupStopper } from '../../process-group.ts';
import type { Credentials } from '../remote/credentials.ts';

export interface HelperOptions extends CallOptions {
  readonly env: Environment;
  /** Hears what is waited for, once it takes longer than 3 s. */
  readonly onWait?: ((message: string) => void) | undefined;
  /** How long a helper may take; default 30 s: it may ask an agent or a cloud, and none needs longer. */
  readonly timeoutMs?: number | undefined;
  /** Until `onWait`; default 3 s. */
  readonly tellMs?: number | undefined;
}

const TIMEOUT_MS = 30_000;
const TELL_MS = 3000;
/** What a helper wrote before it ended is in the pipe by then. */
const DRAIN_MS = 1000;
const MAX_ANSWER_LENGTH = 64 * 1024;

/** What the protocol prints, with exit code 1, when it knows no credentials (credentials/error.go). */
const NOT_FOUND = 'credentials not found in native keychain';

const answerSchema = z.object({ Username: z.string(), Secret: z.string() });

/**
 * Asks the helper called `name` for `serverUrl`; undefined if it has none. What it prints is never put into a message.
 *
 * @throws {NixcacheError} ERR_UNAUTHORIZED when the helper is absent, fails, takes too long or answers nonsense
 */
export async function askCredentialHelper(
  name: string,
  serverUrl: string,
  { env, signal, onWait, timeoutMs = TIMEOUT_MS, tellMs = TELL_MS }: HelperOptions,
): Promise<Credentials | undefined> {
  const command = `docker-credential-${name}`;
  const fail = (reason: string): NixcacheError =>
    new NixcacheError('ERR_UNAUTHORIZED', `ask ${command} for the credentials of ${serverUrl}: ${reason}`);
  if (!/^[\w.+-]+$/.test(name)) throw fail('not the name of a helper');
  const tell = setTimeout(() => onWait?.(`waiting for ${command}, which has not answered yet`), tellMs);
  const ended = await run(command, serverUrl, { env, signal, timeoutMs }).finally(() => clearTimeout(tell));
  if (signal?.aborted === true) throw abortReason(signal);
  if (ended.isAbsent) throw fail('it is not installed; install it or remove it from docker’s config.json');
  if (ended.isStopped) throw fail(`no answer within ${timeoutMs / 1000} s`);
  if (ended.exitCode !== 0) {
    if (ended.stdout.trim() === NOT_FOUND) return undefined;
    throw fail(`it failed with exit code ${ended.exitCode ?? ended.signal ?? 'none'}`);
  }
  const answer = answerSchema.safeParse(boundedJsonOf(ended.stdout));
  if (!answer.success) throw fail('its answer is not the JSON it should be');
  const { Username: username, Secret: secret } = answer.data;
  // docker/cli: this user name says that the secret is an identity token.
  if (secret === '') return undefined;
  if (username === '<token>') return { type: 'identity-token', token: secret };
  return { type: 'basic', username, password: secret };
}

interface Ended {
  readonly stdout: string;
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly isAbsent: boolean;
  /** Because of the deadline. */
  readonly isStopped: boolean;
}

/** Over when the program itself ends: what it started may hold its output open for as long as it likes, and is ended too. */
async function run(
  command: string,
  input: string,
  { env, signal, timeoutMs }: CallOptions & { readonly env: Environment; readonly timeoutMs: number },
): Promise<Ended> {
  const child = execa(command, ['get'], {
    ...{ input, env: childEnvironment('credential-helper', env), extendEnv: false, reject: false },
    ...{ stderr: 'ignore', buffer: false, detached: true, cleanup: false },
  });
  // SIGKILL at once: one that ignores SIGTERM would keep us until its deadline.
  const stop = groupStopper(child.pid, 0);
  let stdout = '';
  let heard = (): void => {};
  child.stdout.on('data', (chunk: Buffer) => {
    if (stdout.length < MAX_ANSWER_LENGTH) stdout += chunk.toString('utf8');
    heard();
  });
  const isWhole = (): boolean => stdout.trim() === NOT_FOUND || boundedJsonOf(stdout) !== undefined;
  let isStopped = false;
  const closed = child.then((result) => ({ ...result, isAbsent: result.code === 'ENOENT' }));
  const exited = new Promise<{ exitCode: number | undefined; signal: string | undefined }>((resolve) => {
    child.nodeChildProcess.once('exit', (code, name) =>
      resolve({ exitCode: code ?? undefined, signal: name ?? undefined }),
    );
  });
  let giveUp = (): void => {};
  const stopped = new Promise<{ exitCode: undefined; signal: string }>((resolve) => {
    giveUp = () => resolve({ exitCode: undefined, signal: 'SIGKILL' });
  });
  const deadline = setTimeout(() => {
    isStopped = true;
    giveUp();
  }, timeoutMs);
  signal?.addEventListener('abort', giveUp, { once: true });
  if (signal?.aborted === true) giveUp();
  try {
    const ended = await Promise.race([closed, exited, stopped]);
    if (ended.exitCode !== undefined && !isWhole()) {
      await new Promise<void>((resolve) => {
        heard = () => isWhole() && resolve();
        setTimeout(resolve, DRAIN_MS).unref();
        closed.then(() => resolve());
      });
    }
    const isAbsent = 'isAbsent' in ended && ended.isAbsent;
    return { stdout, exitCode: ended.exitCode, signal: ended.signal, isAbsent, isStopped };
  } finally {
    clearTimeout(deadline);
    signal?.removeEventListener('abort', giveUp);
    stop.kill();
    child.stdout.destroy();
  }
}
