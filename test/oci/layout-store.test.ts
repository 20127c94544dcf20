import { join } from 'node:path';
import { LayoutStore } from '../../src/oci/layout-store.ts';
import { tempDir } from '../support/temp-dir.ts';
import { testContentStore } from './content-store.suite.ts';

testContentStore('LayoutStore', async () => LayoutStore.open(join(await tempDir(), 'cache'), { create: true }));
