/** Logs, entries of the build trace and debug symbols that upstreams have. */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { buildTraceFingerprint, formatBuildTraceEntry } from '../../src/nix/build-trace.ts';
import { signText } from '../../src/nix/signature.ts';
import type { BaseName } from '../../src/nix/store-path.ts';
import { startFakeUpstream } from '../support/fake-upstream.ts';
import { baseName, headerOf, newKey } from './set-up.ts';
import { KEY, setUp } from './upstream-set-up.ts';

const DRV = `${baseName(1)}.drv`;

describe('a build log', () => {
  const LOG = `/log/${DRV}`;

  it('is passed on as plain text, whole and in parts', async () => {
    const far = await startFakeUpstream();
    far.files.set(LOG, '<script>building</script>\n');
    const { ask } = setUp([far]);
    const reply = await ask(LOG);
    expect([reply.status, String(reply.body)]).toEqual([200, '<script>building</script>\n']);
    expect(headerOf(reply, 'content-type')).toBe('text/plain; charset=utf-8');
    expect(headerOf(reply, 'x-content-type-options')).toBe('nosniff');
    const part = await ask(LOG, { Range: 'bytes=8-15' });
    expect([part.status, String(part.body)]).toEqual([206, 'building']);
    const head = await ask(LOG, { method: 'HEAD' });
    expect([head.status, headerOf(head, 'content-length'), String(head.body)]).toEqual([200, '26', '']);
    await expect.poll(far.active).toBe(0);
  });

  it('is decoded', async () => {
    const far = await startFakeUpstream();
    far.files.set(LOG, gzipSync('building\n'));
    far.headers.set(LOG, { 'content-encoding': 'gzip' });
    const reply = await setUp([far]).ask(LOG);
    expect([reply.status, String(reply.body)]).toEqual([200, 'building\n']);
    expect(headerOf(reply, 'content-encoding')).toBeUndefined();
  });

  it('is looked for at each upstream, and is a miss where none has it', async () => {
    const [first, second] = [await startFakeUpstream(), await startFakeUpstream()];
    second.files.set(LOG, 'second\n');
    const { ask } = setUp([first, second]);
    expect(String((await ask(LOG)).body)).toBe('second\n');
    second.files.delete(LOG);
    expect((await ask(LOG)).status).toBe(404);
  });

  it.each(['/log/', '/log/x', `/log/a/${DRV}`, `/log/..%2f${DRV}`])('has no name like %s', async (path) => {
    const far = await startFakeUpstream();
    expect((await setUp([far]).ask(path)).status).toBe(404);
    expect(far.requests).toEqual([]);
  });
});

describe('an entry of the build trace', () => {
  const PATH = `/build-trace-v2/${DRV}/out.doi`;
  const unsigned = { drvPath: DRV as BaseName, outputName: 'out', outPath: baseName(2) as BaseName, signatures: [] };
  const signed = { ...unsigned, signatures: [signText(buildTraceFingerprint(unsigned), KEY)] };

  it('is passed on as it was parsed', async () => {
    const far = await startFakeUpstream();
    far.files.set(PATH, ` ${formatBuildTraceEntry(signed).replace('{', '{"x":"<script>",')}`);
    const reply = await setUp([far]).ask(PATH);
    expect([reply.status, String(reply.body)]).toEqual([200, formatBuildTraceEntry(signed)]);
    expect(headerOf(reply, 'content-type')).toBe('application/json');
  });

  it('is passed on only when a trusted key signed it, where keys are asked for', async () => {
    const far = await startFakeUpstream();
    const { ask } = setUp([far], { trustedPublicKeys: [KEY.publicKey] });
    const other = { ...unsigned, signatures: [signText(buildTraceFingerprint(unsigned), newKey('other-1'))] };
    for (const [entry, status] of [
      [unsigned, 404],
      [other, 404],
      [signed, 200],
    ] as const) {
      far.files.set(PATH, formatBuildTraceEntry(entry));
      expect((await ask(PATH)).status).toBe(status);
    }
  });

  it.each(['<html>', '{"outPath":"/etc/passwd"}', `[${'['.repeat(10_000)}`])(
    'is a miss when it is %s',
    async (text) => {
      const far = await startFakeUpstream();
      far.files.set(PATH, text);
      expect((await setUp([far]).ask(PATH)).status).toBe(404);
    },
  );
});

describe('where debug symbols are', () => {
  const PATH = `/debuginfo/${'0a'.repeat(20)}.debug`;
  const where = (archive: string): string => JSON.stringify({ archive, member: 'lib/debug/x.debug' });

  it('is passed on when the NAR can be had here', async () => {
    const far = await startFakeUpstream();
    const text = where(`../nar/${'0'.repeat(52)}.nar.xz`);
    far.files.set(PATH, text);
    const reply = await setUp([far]).ask(PATH);
    expect([reply.status, String(reply.body)]).toEqual([200, text]);
    expect(headerOf(reply, 'content-type')).toBe('application/json');
  });

  it.each(['https://evil.example/x.nar', '../../x.nar', '../nar/x.nar', '/etc/passwd'])(
    'is a miss when it leads to %s',
    async (archive) => {
      const far = await startFakeUpstream();
      far.files.set(PATH, where(archive));
      expect((await setUp([far]).ask(PATH)).status).toBe(404);
    },
  );

  it('has no other names', async () => {
    const far = await startFakeUpstream();
    expect((await setUp([far]).ask('/debuginfo/x/../y')).status).toBe(404);
    expect((await setUp([far]).ask('/debuginfo/nix-cache-info')).status).toBe(404);
    expect(far.requests).toEqual([]);
  });
});
