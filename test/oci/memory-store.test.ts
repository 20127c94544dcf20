import { MemoryStore } from '../support/memory-store.ts';
import { testContentStore } from './content-store.suite.ts';

testContentStore('MemoryStore', async () => new MemoryStore());
