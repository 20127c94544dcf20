import { expect, it } from 'vitest';
import { startServer } from '../../../src/serve/node/server.ts';
import { MemoryCacheReader } from '../../support/memory-cache-reader.ts';
import { narOf } from '../../support/nar.ts';
import { baseName, hashPart } from '../set-up.ts';
import { rawClient } from './raw-client.ts';

it("a file of a path's own host is that file, whatever it is called, and bytes of a name go as they are", async () => {
  const reader = new MemoryCacheReader();
  const name = `${hashPart(1)}.narinfo`;
  const entries = [
    [name, { contents: 'a file' }],
    ['\udcff\\x', { contents: 'odd' }],
  ] as const;
  reader.add({ baseName: baseName(1), nar: narOf({ entries }) });
  const server = await startServer({ reader, port: 0, storeHost: 'cache.example.org' });
  try {
    const client = await rawClient(server.port);
    const ask = (path: string): void =>
      client.send(`GET ${path} HTTP/1.1\r\nHost: ${hashPart(1)}.cache.example.org\r\n\r\n`);
    ask(`/${name}`);
    await client.until((text) => text.endsWith('\r\n\r\na file'));
    ask('/%ff%5Cx');
    expect(await client.until((text) => text.endsWith('odd'))).toContain('HTTP/1.1 200');
    client.socket.destroy();
  } finally {
    await server.close();
  }
});
