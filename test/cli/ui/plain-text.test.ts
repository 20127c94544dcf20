import { describe, expect, it } from 'vitest';
import { escapeMarkdown } from '../../../src/cli/ui/markdown.ts';
import { formatFields, formatTable } from '../../../src/cli/ui/table.ts';
import { NASTY } from '../../support/nasty-strings.ts';
import { keptOutput } from '../streams.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: -- they are what must not be there
const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]/;
/** As the runner looks for them (actions/runner src/Runner.Common/ActionCommand.cs). */
const COMMAND = /^\s*::[a-z]|##\[/m;

const say = (nasty: string, env: Readonly<Record<string, string>>) => {
  const { output, stdout, stderr } = keptOutput({ env });
  output.configure({ verbose: true });
  output.info(nasty);
  output.info(`building ${nasty}`);
  output.detail(nasty);
  output.line(nasty);
  output.result({}, () => nasty);
  output.startProgress(nasty).done();
  const told = keptOutput({ env });
  told.output.warn(nasty);
  told.output.group(nasty);
  told.output.error(nasty, [nasty]);
  return { plain: stdout.text + stderr.text, told: told.stderr.text };
};

describe.each(NASTY)('%j', (nasty) => {
  it('commands no terminal', () => {
    const { plain, told } = say(nasty, {});
    expect(plain + told).not.toMatch(UNSEEN);
    expect(plain.length).toBeGreaterThan(20);
  });

  it('commands no workflow', () => {
    const { plain, told } = say(nasty, { GITHUB_ACTIONS: 'true' });
    expect(plain).not.toMatch(COMMAND);
    expect(plain + told).not.toMatch(UNSEEN);
    // A warning, a group and an error of ours, each on one line.
    expect(told.match(/^::(warning|group|error)[ :]/gm)).toHaveLength(3);
    expect(told.trimEnd().split('\n')).toHaveLength(3);
  });

  it('stays in its cell, its field and its paragraph', () => {
    expect(formatTable(['A', 'B'], [[nasty, 'x']]).split('\n')).toHaveLength(2);
    expect(formatFields([['title', nasty]]).split('\n')).toHaveLength(1);
    const markdown = escapeMarkdown(nasty);
    expect(markdown).not.toMatch(/\n|(?<!\\)[<>[\]|`!#@]/);
  });

  it.each([{}, { GITHUB_ACTIONS: 'true' }])('is whole in JSON, where nothing of it is seen either: %j', (env) => {
    for (const say of ['result', 'jsonLine', 'failure'] as const) {
      const { output, stdout } = keptOutput({ env });
      output.configure({ json: say !== 'jsonLine' });
      if (say === 'failure') output.failure('ERR_IO', nasty);
      else output[say]({ [nasty]: nasty }, () => '');
      const expected = say === 'failure' ? { error: { code: 'ERR_IO', message: nasty } } : { [nasty]: nasty };
      expect(JSON.parse(stdout.text)).toEqual(expected);
      expect(stdout.text).not.toMatch(UNSEEN);
      expect(stdout.text).not.toMatch(COMMAND);
    }
  });
});
