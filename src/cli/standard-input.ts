/** What is piped in: a password, a key, a list of paths. All of them are small. */
import { addAbortSignal } from 'node:stream';
import { NixcacheError } from '../errors.ts';
import type { Call } from './command.ts';
import type { CommandContext } from './context.ts';

/** Standard input to its end. @throws {NixcacheError} ERR_USAGE above `maxBytes`, or when a person would have to type it */
export async function readStandardInput(
  { stdin, signal }: Pick<CommandContext, 'stdin' | 'signal'>,
  options: { readonly what: string; readonly maxBytes: number },
): Promise<string> {
  if (stdin.isTTY) throw new NixcacheError('ERR_USAGE', `${options.what} is read from standard input: pipe it in`);
  const chunks: Buffer[] = [];
  let size = 0;
  // Whoever holds the other end need not ever write, or close it.
  for await (const chunk of addAbortSignal(signal, stdin)) {
    signal.throwIfAborted();
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > options.maxBytes) {
      throw new NixcacheError(
        'ERR_USAGE',
        `${options.what} on standard input is longer than ${options.maxBytes} bytes`,
      );
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A million paths. */
const MAX_LIST_BYTES = 128 * 1024 * 1024;

/** `args`, or if that is `-` the lines of standard input. @throws {NixcacheError} ERR_USAGE */
export async function readPathList(args: readonly string[], { flags, context }: Call): Promise<readonly string[]> {
  if (!args.includes('-')) return args;
  if (args.length > 1) throw new NixcacheError('ERR_USAGE', "'-' stands alone: give paths, or - to read them");
  if (flags['passwordStdin']) {
    throw new NixcacheError(
      'ERR_USAGE',
      'standard input cannot hold the paths and the password: set NIXCACHE_PASSWORD instead of --password-stdin',
    );
  }
  const list = await readStandardInput(context, { what: 'the list of paths', maxBytes: MAX_LIST_BYTES });
  const lines = list
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length === 0) {
    throw new NixcacheError('ERR_USAGE', 'there are no paths on standard input: did the command before the pipe fail?');
  }
  return lines;
}
