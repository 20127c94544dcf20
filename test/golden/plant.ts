/** Makes the golden trees below the directory that is the first argument; for regenerate.sh. */
import { join } from 'node:path';
import { GOLDEN_TREES, plantTree } from '../support/file-tree.ts';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: node test/golden/plant.ts DIRECTORY');
for (const [name, tree] of Object.entries(GOLDEN_TREES)) plantTree(join(directory, name), tree);
