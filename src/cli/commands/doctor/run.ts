/** Finds out what is wrong. */

import { isIPv6 } from 'node:net';
import { resolveCache, resolveIndexDirectory } from '../../../config/cache-reference.ts';
import { CREDENTIALS } from '../../../config/credentials.ts';
import { DOCTOR } from '../../../config/doctor-settings.ts';
import { UNIX_SOCKET } from '../../../config/serve-settings.ts';
import { given, resolve, resolveAll, type Sources } from '../../../config/setting.ts';
import { resolveSigningKeys } from '../../../config/signing-keys.ts';
import { resolveUpstreams } from '../../../config/upstreams.ts';
import { type DoctorReport, runDoctor as examine } from '../../../doctor/doctor.ts';
import type { Finding } from '../../../doctor/finding.ts';
import { NixCommand } from '../../../nix-store/nix-command.ts';
import { formatCount } from '../../../quantity.ts';
import type { Call } from '../../command.ts';
import { EXIT } from '../../exit-codes.ts';
import { Session } from '../../session/session.ts';
import { escapeMarkdown } from '../../ui/markdown.ts';
import type { Output } from '../../ui/output.ts';
import { MIN_WIDTH_BESIDE } from '../../ui/table.ts';
import { wrap } from '../../ui/width.ts';

/** Whoever waits for a doctor wants to know soon. */
const HASTY = { attempts: 1, baseDelayMs: 0, maxDelayMs: 0, deadlineMs: 8000 };
const IMPATIENT = { retry: HASTY, breaker: { failures: 1, spanMs: 0, openMs: 1000, maxOpenMs: 1000 } };
const CONNECT_TIMEOUT_MS = 4000;

export async function runDoctor(call: Call): Promise<void> {
  const { output, signal, env, cwd } = call.context;
  await using session = await Session.open(call, { connectTimeoutMs: CONNECT_TIMEOUT_MS });
  const { sources, http } = session;
  const serveUrl = serveUrlOf(sources);
  const credentials = await session.credentials();
  const printer = new FindingPrinter((text) => output.line(text), output.tableWidth);
  const report = await examine({
    ...{ http, serveUrl, signal, nix: new NixCommand({ cwd }) },
    cache: () => session.cache,
    credentials: { ...credentials, passwordFrom: passwordFrom(sources), kind: kindOf(sources), env },
    async openReader(cache) {
      const store = await session.store({ cache, retry: { policy: HASTY } });
      return session.reader(store, { strict: true, onWarning: undefined }, cache);
    },
    async signingKeys() {
      return (await session.signingKeys(resolveSigningKeys(sources))).map(({ publicKey }) => publicKey);
    },
    upstreams: () => session.upstreams(resolveUpstreams(sources), { patience: IMPATIENT }),
    isServeConfigured: [DOCTOR.port, DOCTOR.listen].some((setting) => given(setting, sources) !== undefined),
    indexDirectory: ({ name }) => resolveIndexDirectory(sources, name),
    now: () => new Date(),
    onFinding(finding) {
      if (!output.json) printer.tell(finding);
    },
  });
  printer.end();
  if (output.json) output.result(report, () => '');
  const { problems, warnings } = report;
  output.info(
    problems + warnings === 0
      ? 'all is well'
      : `${formatCount(problems, 'problem')}, ${formatCount(warnings, 'warning')}`,
  );
  await tellGitHub(report, output);
  if (problems > 0) call.context.exitCode = EXIT.damage;
}

/** Annotations, the job's page and outputs. */
async function tellGitHub({ cache, problems, warnings, findings }: DoctorReport, output: Output): Promise<void> {
  const bad = findings.filter(({ verdict }) => verdict === 'problem' || verdict === 'warning');
  const rows = bad.map(({ check, verdict, message, fix = '' }) => {
    output.annotate(verdict === 'problem' ? 'error' : 'warning', [`${check}: ${message}`, fix].join('\n').trimEnd());
    return `| ${WORDS[verdict]} | ${check} | ${escapeMarkdown(message)} | ${escapeMarkdown(fix)} |`;
  });
  const head = [
    `### nixcache doctor: ${escapeMarkdown(cache ?? 'no cache')}`,
    '',
    `${formatCount(problems, 'problem')}, ${formatCount(warnings, 'warning')}.`,
  ];
  const table = rows.length === 0 ? [] : ['', '| | Check | Finding | Fix |', '|---|---|---|---|', ...rows];
  await output.stepSummary([...head, ...table].join('\n'));
  await output.stepOutputs({ problems: String(problems), warnings: String(warnings) });
}

/** What gave the password, if anything did. */
const passwordFrom = (sources: Sources): string =>
  resolve(CREDENTIALS.passwordStdin, sources) ? '--password-stdin' : 'NIXCACHE_PASSWORD';

/**
 * Where a client on this machine finds `serve`. Nix asks no unix socket: what stands before one is looked for where it is by
 * default.
 */
function serveUrlOf(sources: Sources): string {
  const { listen: given, port } = resolveAll({ port: DOCTOR.port, listen: DOCTOR.listen }, sources);
  const listen = given.startsWith(UNIX_SOCKET) ? DOCTOR.listen.default : given;
  const host = listen === '0.0.0.0' ? '127.0.0.1' : listen === '::' ? '::1' : listen;
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function kindOf(sources: Sources): ReturnType<typeof resolveCache>['registryKind'] {
  try {
    return resolveCache(sources).registryKind;
  } catch {
    return undefined; // the check of the reference says so
  }
}

/** Prints findings as they come; those that were skipped for one reason on one line. */
class FindingPrinter {
  readonly #print: (text: string) => void;
  readonly #width: number | undefined;
  #skipped: Finding[] = [];

  constructor(print: (text: string) => void, width: number | undefined) {
    this.#print = print;
    this.#width = width;
  }

  tell(finding: Finding): void {
    if (finding.verdict !== 'skipped' || this.#skipped.at(-1)?.message !== finding.message) this.end();
    if (finding.verdict === 'skipped') this.#skipped.push(finding);
    else this.#print(formatFinding(finding, this.#width));
  }

  end(): void {
    const [first, ...others] = this.#skipped.splice(0);
    if (first === undefined) return;
    const also = others.length === 0 ? '' : `; also skipped: ${others.map(({ check }) => check).join(', ')}`;
    this.#print(formatFinding({ ...first, message: `${first.message}${also}` }, this.#width));
  }
}

const WORDS: Readonly<Record<Finding['verdict'], string>> = {
  ok: 'ok',
  warning: 'warning',
  problem: 'PROBLEM',
  skipped: 'skipped',
};
const WORD_WIDTH = 8;
const CHECK_WIDTH = 12;

/** Wrapped to `width`; undefined: one line, and one for the fix. */
export function formatFinding({ check, verdict, message, fix }: Finding, width: number | undefined): string {
  const head = WORDS[verdict].padEnd(WORD_WIDTH) + check.padEnd(CHECK_WIDTH);
  const said = fix === undefined ? [message] : [message, `fix: ${fix}`];
  if (width === undefined)
    return [head + said[0], ...said.slice(1).map((line) => ' '.repeat(head.length) + line)].join('\n');
  const indent = width < MIN_WIDTH_BESIDE ? 2 : head.length;
  const lines = said.flatMap((text) => wrap(text, width - indent)).map((line) => ' '.repeat(indent) + line);
  if (width < MIN_WIDTH_BESIDE) return [head.trimEnd(), ...lines].join('\n');
  return head + lines.join('\n').trimStart();
}
