/** What --json of every command owes scripts: one form of times, one of store paths, numbers where things are counted. */
import { expect, it } from 'vitest';
import { smallCache } from './commands/small-cache.ts';

const cache = smallCache();
const { nixcache } = cache;

const TIME = /^(?:time|published|pinned|asserted|lastPushed|newestPublish|until|refreshedAt)$/;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;
const BASE_NAME = /^[0-9abcdfghijklmnpqrsvwxyz]{32}-/;

/** Every value with the key it has, however deep. */
function* valuesIn(value: unknown, key = ''): Generator<[string, unknown]> {
  yield [key, value];
  if (Array.isArray(value)) for (const each of value) yield* valuesIn(each, key);
  else if (typeof value === 'object' && value !== null) {
    for (const [name, each] of Object.entries(value)) yield* valuesIn(each, name);
  }
}

it.each([
  [['list']],
  [['list', '--roots']],
  [['list', '--entries']],
  [['pin', 'stable', 'hello-2']],
  [['pin', '--list']],
  [['pin', '--history', 'stable']],
  [['list', '--pins']],
  [['info', 'libc']],
  [['info', 'hello-2']],
  [['info', 'stable']],
  [['info', 'hel']],
  [['gc', '--dry-run', '--retain', '1d']],
  [['verify', '--no-upstream']],
  [['doctor', '--no-upstream']],
  [['copy', 'SOURCE', 'oci:./copied']],
])('%j', async (args) => {
  const reference = `oci:${cache.home}/cache`;
  const { stdout } = await nixcache([...args.map((arg) => (arg === 'SOURCE' ? reference : arg)), '--json']);
  const documents = stdout.split('\n').map((line): unknown => JSON.parse(line));
  for (const [key, value] of documents.flatMap((document) => [...valuesIn(document)])) {
    if (key === 'pinned' && typeof value === 'string' && value.startsWith('/')) continue; // what a name is pinned to
    if (TIME.test(key) && value !== null) expect({ key, value }).toEqual({ key, value: expect.stringMatching(ISO) });
    if (key === 'missing') expect({ key, value }).toEqual({ key, value: expect.any(Number) });
    if (typeof value === 'string') expect({ key, value }).not.toEqual({ key, value: expect.stringMatching(BASE_NAME) });
    expect(key).not.toMatch(BASE_NAME);
  }
});

it.each([
  [['list', 'nothing*'], 1, 'ERR_NOT_FOUND'],
  [['list', '--entries', 'nothing*'], 1, 'ERR_NOT_FOUND'],
  [['info', 'nothing'], 1, 'ERR_NOT_FOUND'],
  [['gc', '--retain', '30'], 2, 'ERR_USAGE'],
  [['gc', '--retian', '30d'], 2, 'ERR_USAGE'],
  [['copy'], 2, 'ERR_USAGE'],
  [['nothing'], 2, 'ERR_USAGE'],
  [[], 2, 'ERR_USAGE'],
  [['serve', '--listen', '192.0.2.1', '--no-upstream'], 2, 'ERR_USAGE'],
  [['key', 'public', '/nowhere'], 2, 'ERR_KEY'],
])('%j that fails is a document too', async (args, exitCode, code) => {
  const result = await nixcache([...args, '--json']);
  expect(result.exitCode).toBe(exitCode);
  expect(JSON.parse(result.stdout)).toEqual({ error: { code, message: expect.stringMatching(/./) } });
});

it('help for a command that there is not', async () => {
  const { exitCode, stderr } = await nixcache(['help', 'pulish']);
  expect(exitCode).toBe(2);
  expect(stderr).toBe("nixcache: unknown command 'pulish'\n  did you mean publish?\n  see: nixcache --help");
});
