/** `npm run bench -- SUITE`: runs one suite of measurements and prints what it found; README.md says what and why. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheDir, ensureClosure } from './closure/closure.ts';
import { benchLarge } from './large.ts';
import { benchPublish } from './publish.ts';
import { benchScale } from './scale.ts';
import { benchServe } from './serve.ts';
import { formatReport, type Report } from './support/report.ts';

/** Below, a synthetic cache would be all recent segments. */
const MIN_ENTRIES = 10_000;
const SUITES = ['publish', 'large', 'scale', 'serve'];

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      runs: { type: 'string', default: '3' },
      dir: { type: 'string', default: cacheDir() },
      entry: { type: 'string' },
      entries: { type: 'string', default: '100000' },
      baseline: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const [suite] = positionals;
  const runs = Number(values.runs);
  if (positionals.length !== 1 || suite === undefined || !SUITES.includes(suite)) {
    process.stderr.write(
      `bench: ${suite === undefined ? 'which suite?' : `no suite ${suite};`} there is: ${SUITES.join(', ')}\n`,
    );
    return 2;
  }
  if (!Number.isInteger(runs) || runs < 1) {
    process.stderr.write(`bench: --runs ${values.runs} is not a number of runs\n`);
    return 2;
  }
  const entries = Number(values.entries);
  if (!Number.isInteger(entries) || entries < MIN_ENTRIES) {
    process.stderr.write(`bench: --entries ${values.entries} is not a number from ${MIN_ENTRIES} up\n`);
    return 2;
  }
  const onStep = (step: string): boolean => process.stderr.write(`${step}\n`);
  const dir = resolve(values.dir);
  const entry = values.entry === undefined ? undefined : resolve(values.entry);
  const report = await { publish, large, scale, serve }[suite as 'publish' | 'large' | 'scale' | 'serve']();
  process.stdout.write(`${values.json ? JSON.stringify(report, undefined, 2) : formatReport(report)}\n`);
  return 0;

  async function publish(): Promise<Report> {
    onStep(`closure in ${dir}`);
    return benchPublish({ closure: await ensureClosure(dir), runs, baseline: values.baseline, entry, onStep });
  }

  async function large(): Promise<Report> {
    onStep(`closure in ${dir}`);
    return benchLarge({ closure: await ensureClosure(dir), runs, entry, onStep });
  }

  async function serve(): Promise<Report> {
    onStep(`closure in ${dir}`);
    return benchServe({ closure: await ensureClosure(dir), runs, entry, onStep });
  }

  async function scale(): Promise<Report> {
    return benchScale({ dir, entries, runs, entry, onStep });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
