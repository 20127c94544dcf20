/** `node bench/closure/make.ts [--dir DIR]`: builds the closure that `npm run bench` publishes, and says what it is. */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { cacheDir, ensureClosure } from './closure.ts';

const { values } = parseArgs({ options: { dir: { type: 'string' } } });
const { top, pathCount, narBytes, tiny, root } = await ensureClosure(resolve(values.dir ?? cacheDir()));
process.stdout.write(
  `${top}\n${pathCount} paths, ${(narBytes / 2 ** 30).toFixed(2)} GiB of NARs, and ${tiny.length} tiny paths, in ${root}\n`,
);
