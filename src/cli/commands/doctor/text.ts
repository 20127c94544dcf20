/** A finding of the doctor's, as a line or a few. */
import type { Finding } from '../../../doctor/finding.ts';

/** Prints findings as they come; those that were skipped for one reason on one line. */
export class FindingPrinter {
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
    const also = others.length === 0 ? '' : `; so are ${others.map(({ check }) => check).join(', ')}`;
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
/** Below this, what is said stands below the word, not beside it. */
const MIN_WIDTH = 60;

/** Wrapped to `width`; undefined: one line, and one for the fix. */
export function formatFinding({ check, verdict, message, fix }: Finding, width: number | undefined): string {
  const head = WORDS[verdict].padEnd(WORD_WIDTH) + check.padEnd(CHECK_WIDTH);
  const said = fix === undefined ? [message] : [message, `fix: ${fix}`];
  if (width === undefined)
    return [head + said[0], ...said.slice(1).map((line) => ' '.repeat(head.length) + line)].join('\n');
  const indent = width < MIN_WIDTH ? 2 : head.length;
  const lines = said.flatMap((text) => wrap(text, width - indent)).map((line) => ' '.repeat(indent) + line);
  if (width < MIN_WIDTH) return [head.trimEnd(), ...lines].join('\n');
  return head + lines.join('\n').trimStart();
}

/** At spaces; a word longer than the line stays whole, so that a URL can be copied. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
