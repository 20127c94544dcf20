/** A command's flags, its variables and the keys of the config file are what one table says, and nothing else. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { addCommand } from '../../src/cli/command.ts';
import { COMMANDS, KEY_COMMANDS } from '../../src/cli/program.ts';
import { parseConfig } from '../../src/config/load.ts';

const SPECS = [...Object.values(COMMANDS).flat(), ...KEY_COMMANDS];
const SETTINGS = SPECS.flatMap(({ name, settings }) =>
  settings.flatMap((table) => Object.values(table)).map((setting) => ({ command: name, setting })),
);

const SRC = new URL('../../src', import.meta.url).pathname;
const SOURCES = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({ file, text: readFileSync(join(SRC, file), 'utf8') }));

/** Not a setting: it chooses the repository in the registry where nothing else chooses the cache. */
const OF_THE_DEFAULT_CACHE = ['NIXCACHE_REPO', 'NIXCACHE_REGISTRY'];

describe.each(SPECS)('$name', (spec) => {
  const settings = spec.settings.flatMap((table) => Object.values(table));
  const parent = new Command('nixcache');
  addCommand(parent, spec, {} as never);
  const help = parent.commands[0]?.configureHelp({ helpWidth: 10_000 }).helpInformation() ?? '';

  it('tells of every flag once, with its variable', () => {
    for (const { flag, env, hidden } of settings) {
      if (flag === undefined || hidden) continue;
      const lines = help.split('\n').filter((line) => line.trimStart().startsWith(flag));
      expect(lines, flag).toHaveLength(1);
      if (env !== undefined) expect(lines[0]).toContain(`or ${env}`);
    }
  });

  it('knows no flag but those of its tables', () => {
    const flags = settings.flatMap(({ flag = '', no }) => {
      const long = /--[a-z-]+/.exec(flag)?.[0];
      return long === undefined ? [] : [long, ...(no === undefined ? [] : [long.replace('--', '--no-')])];
    });
    expect(parent.commands[0]?.options.map(({ long }) => long).sort()).toEqual([...new Set(flags)].sort());
  });
});

describe('the config file', () => {
  const keys = [...new Set(SETTINGS.flatMap(({ setting: { key } }) => key ?? []))];

  it.each(keys)('knows %s', async (key) => {
    // A table is what no setting holds.
    await expect(parseConfig(`[${key}]`, '/n.toml')).rejects.toThrow(`: ${key} must be `);
  });
});

it('every variable that is read is one that some help tells of', () => {
  const told = SETTINGS.map(({ setting: { env, note, help } }) => `${env} ${note} ${help}`).join(' ');
  const read = SOURCES.flatMap(({ text }) =>
    [...text.matchAll(/'(NIXCACHE_[A-Z_]*[A-Z])'/g)].map(([, name = '']) => name),
  );
  expect(read.length).toBeGreaterThan(10);
  const known = OF_THE_DEFAULT_CACHE;
  expect([...new Set(read)].filter((name) => !known.includes(name) && !told.includes(name))).toEqual([]);
});

it('tables of settings stand in config/', () => {
  const elsewhere = SOURCES.filter(
    ({ file, text }) => !file.startsWith('config/') && text.includes('satisfies Setting'),
  );
  expect(elsewhere.map(({ file }) => file)).toEqual([]);
});
