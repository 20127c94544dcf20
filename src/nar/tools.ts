/** Compressions that Nix reads and no library here does in bounded memory: by the programs that every system has for them, where it has them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { NixcacheError } from '../errors.ts';

type Bytes = AsyncIterable<Uint8Array>;
type Tool = readonly [program: string, ...args: string[]];

/**
 * A process of its own, for @napi-rs/lzma, which compresses for us, unpacks as fast as it can whether we read or not: 300 KB
 * may become gigabytes in memory. `xz -9` needs 65 MiB; a file that asks for much more is refused.
 */
const XZ = ['xz', '-dc', '--memlimit-decompress=512MiB'] as const;

/** Each unpacks from standard input to standard output; the first that is installed is taken. */
const UNPACKERS: Readonly<Record<string, readonly Tool[]>> = {
  xz: [[...XZ, '--format=xz']],
  bzip2: [['bzip2', '-dc']],
  compress: [['gzip', '-dc']],
  lz4: [['lz4', '-dc']],
  lzip: [
    ['lzip', '-dc'],
    [...XZ, '--format=lzip'],
  ],
  lzma: [[...XZ, '--format=lzma']],
};

/** The same to pack, as fast as each can. */
const PACKERS: Readonly<Record<string, readonly Tool[]>> = {
  xz: [['xz', '-0', '-c']],
  bzip2: [['bzip2', '-1', '-c']],
  lz4: [['lz4', '-1', '-c']],
  lzip: [['lzip', '-0', '-c']],
  lzma: [['xz', '-0', '-c', '--format=lzma']],
};

/** What unpacks `compression` on this machine; looked for once. */
export const findTool = installedOf(UNPACKERS);
/** What packs with `compression` on this machine; looked for once. */
export const findPacker = installedOf(PACKERS);

function installedOf(
  tools: Readonly<Record<string, readonly Tool[]>>,
): (compression: string) => Promise<Tool | undefined> {
  const found = new Map<string, Promise<Tool | undefined>>();
  return (compression) => {
    let tool = found.get(compression);
    if (tool === undefined) {
      tool = firstInstalled(Object.hasOwn(tools, compression) ? (tools[compression] ?? []) : []);
      found.set(compression, tool);
    }
    return tool;
  };
}

/** What would help where `findTool` has found nothing: `: install xz`; nothing where no program is known. */
export function toolAdvice(compression: string): string {
  const tools = Object.hasOwn(UNPACKERS, compression) ? (UNPACKERS[compression] ?? []) : [];
  return tools.length === 0 ? '' : `: install ${tools.map(([program]) => program).join(' or ')}`;
}

async function firstInstalled(tools: readonly Tool[]): Promise<Tool | undefined> {
  for (const tool of tools) {
    if (await isInstalled(tool)) return tool;
  }
  return undefined;
}

/** A Worker has no programs, and says so by throwing. */
async function isInstalled([program]: Tool): Promise<boolean> {
  try {
    const [code] = (await once(spawn(program, ['--version'], { stdio: 'ignore', env: environment() }), 'close')) as [
      number | null,
    ];
    return code === 0;
  } catch {
    return false;
  }
}

/** The bytes of `source` as `tool` makes them; both are closed on every path. @throws {NixcacheError} ERR_FORMAT */
export async function* throughTool(source: Bytes, [program, ...args]: Tool): AsyncGenerator<Uint8Array> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: environment() });
  const ended = once(child, 'close') as Promise<[number | null]>;
  ended.catch(() => undefined); // awaited below, unless the reader leaves
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('utf8')).slice(0, 300);
  });
  let failure: unknown;
  const input = Readable.from(source, { objectMode: false });
  input.on('error', (error) => {
    failure = error;
    child.kill();
  });
  child.stdin.on('error', () => input.destroy()); // it wants no more, and says why when it ends
  input.pipe(child.stdin);
  try {
    yield* child.stdout;
    const [code] = await ended;
    if (failure !== undefined) throw failure;
    if (code !== 0)
      throw new NixcacheError(
        'ERR_FORMAT',
        `${program} ${args.includes('-dc') ? 'cannot unpack' : 'cannot pack'} it: ${complaint.trim()}`,
      );
  } finally {
    input.destroy();
    child.kill();
  }
}

/** They need nothing of ours. */
const environment = (): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], LC_ALL: 'C' });
