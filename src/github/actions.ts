/**
 * What GitHub Actions reads from a step: workflow commands in its output, and two files.
 * Escapes: actions/toolkit packages/core/src/command.ts; files: packages/core/src/file-command.ts.
 */
import { randomUUID } from 'node:crypto';
import { type Environment, variable } from '../environment.ts';
import { ioError } from '../io-error.ts';
import { appendRegular } from '../regular-file.ts';

export const isGitHubActions = (env: Environment): boolean => variable(env, 'GITHUB_ACTIONS') === 'true';

/** `::error title=…::message` on one line, whatever the texts hold. */
export function formatWorkflowCommand(
  command: 'error' | 'warning' | 'notice' | 'group' | 'endgroup',
  message = '',
  properties: Readonly<Record<string, string>> = {},
): string {
  const list = Object.entries(properties).map(([name, value]) => `${name}=${escapeProperty(value)}`);
  return `::${command}${list.length > 0 ? ` ${list.join(',')}` : ''}::${escapeData(message)}`;
}

const escapeData = (text: string): string =>
  text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');

const escapeProperty = (text: string): string => escapeData(text).replaceAll(':', '%3A').replaceAll(',', '%2C');

/** `name<<delimiter` blocks: values may hold anything, since nobody can guess the delimiter. */
export function formatOutputs(
  values: Readonly<Record<string, string>>,
  delimiter = `nixcache_${randomUUID()}`,
): string {
  return Object.entries(values)
    .map(([name, value]) => {
      if (value.includes(delimiter)) throw new Error(`output ${name} holds its own delimiter`);
      return `${name}<<${delimiter}\n${value}\n${delimiter}\n`;
    })
    .join('');
}

/** GitHub drops a step's summary above 1 MiB altogether; a cut one is better. */
const MAX_SUMMARY_BYTES = 1024 * 1024 - 4096;

export function cutSummary(markdown: string): string {
  const bytes = Buffer.from(markdown);
  if (bytes.length <= MAX_SUMMARY_BYTES) return markdown;
  const whole = bytes.subarray(0, bytes.lastIndexOf(0x0a, MAX_SUMMARY_BYTES)).toString('utf8');
  return `${whole}\n\n… and more; the log has all of it.\n`;
}

/**
 * Appends to the file that the variable `name` names; nothing happens where there is none.
 *
 * @throws {NixcacheError} ERR_IO when it cannot be written, or is no regular file
 */
export async function appendToFile(env: Environment, name: string, text: string): Promise<void> {
  const file = variable(env, name);
  if (file === undefined) return;
  try {
    await appendRegular(file, text);
  } catch (error) {
    throw ioError('write', `${file} (${name})`, error, `unset ${name}`);
  }
}
