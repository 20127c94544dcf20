/** What of an upload is not taken, and what is said then. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { formatNarInfo } from '../../../src/nix/nar-info.ts';
import { narOf } from '../../support/nar.ts';
import { LOGIN, setUpUploads, sha256, uploadOf } from './set-up.ts';

const filesIn = (directory: string) =>
  Promise.all(['incoming', 'nars', 'paths'].map((each) => readdir(join(directory, each))));

describe('a narinfo is refused', () => {
  const good = uploadOf(1);
  const other = uploadOf(2);
  const text = formatNarInfo(good.info);
  const with_ = (field: string, value: string): string =>
    text.replace(new RegExp(`^${field}: .*$`, 'm'), `${field}: ${value}`);
  const zeros = '0'.repeat(52);

  it.each<[string, string | Buffer, number, string]>([
    ['about another path', formatNarInfo(other.info), 400, 'it is about /nix/store/'],
    ['with another NarHash', with_('NarHash', `sha256:${zeros}`), 400, 'its NarHash is'],
    ['with another NarSize', with_('NarSize', '7'), 400, 'its NarSize is 7'],
    ['with another FileHash', with_('FileHash', `sha256:${zeros}`), 400, 'its FileHash is not that of its URL'],
    ['with another FileSize', with_('FileSize', '7'), 400, 'its FileSize is 7'],
    ['with another Compression', with_('Compression', 'xz'), 400, 'its Compression is xz'],
    ['with a Compression that no Nix knows', with_('Compression', 'foo'), 400, "'foo' is unknown"],
    ['without an uploaded NAR', with_('URL', other.info.url).replace(/^FileHash.*\n/m, ''), 409, 'was not uploaded'],
    ['with a URL outside', with_('URL', '../secret'), 400, 'its URL ../secret'],
    ['with a URL that climbs', with_('URL', `nar/../${good.info.url}`), 400, 'its URL nar/..'],
    ['with a URL elsewhere', with_('URL', `http://evil.example/${good.info.url}`), 400, 'its URL http://evil'],
    ['with a URL of a file', with_('URL', 'file:///etc/passwd'), 400, 'neither relative to the cache nor an http URL'],
    ['that refers to what nobody has', with_('References', other.path.slice(11)), 409, 'upload that first'],
    [
      'that refers to itself by another name',
      with_('References', `${good.hashPart}-other`),
      400,
      'its hash and another name',
    ],
    ['with references that are no names', with_('References', '/etc/passwd'), 400, 'is not a store path name'],
    ['with a CA of another path', `${text}CA: fixed:r:${good.info.narHash}\n`, 400, 'is not that of its path'],
    ['with a CA that is none', `${text}CA: junk\n`, 400, 'is not a content address'],
    ['of another store', text.replace('/nix/store', '/gnu/store'), 400, 'is not in the Nix store'],
    ['that is cut off', text.slice(0, -1), 400, 'it has no final newline'],
    ['that is empty', '', 400, 'StorePath is missing'],
    ['that is no text', Buffer.from([0xff, 0xfe, 0x0a]), 400, 'narinfo'],
    [
      'with signatures without end',
      `${text}${Array.from({ length: 100 }, (_, i) => `Sig: k${i}:${'A'.repeat(86)}==\n`).join('')}`,
      400,
      'more than 64',
    ],
    ['with a key of a long name', `${text}Sig: ${'k'.repeat(257)}:${'A'.repeat(86)}==\n`, 400, 'more than 256'],
    [
      'with long signatures',
      `${text}${Array.from({ length: 3 }, (_, i) => `Sig: k${i}:${'A'.repeat(60_000)}\n`).join('')}`,
      400,
      'more than 131072 bytes',
    ],
    ['of 17 MiB', `${text}X: ${'x'.repeat(17 * 1024 * 1024)}\n`, 413, 'at most 16777216 bytes'],
  ])('%s', async (_what, body, status, reason) => {
    const client = await setUpUploads();
    expect(await client.put(good.narUrl, good.file)).toMatchObject({ status: 201 });
    const answer = await client.put(good.narInfoUrl, body);
    expect(answer).toMatchObject({ status, text: expect.stringContaining(reason) });
    expect((await client.get(good.narInfoUrl)).status).toBe(404);
    expect(client.uploads.uncommitted()).toEqual([]);
    expect(client.events.at(-1)).toMatchObject({ type: 'upload-refused' });
  });

  it('that unpacks to more than any has', async () => {
    const client = await setUpUploads();
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const answer = await client.put(good.narInfoUrl, bomb, { 'content-encoding': 'gzip' });
    expect(answer).toMatchObject({ status: 413 });
  });

  it('with a CA of its path and not of its NAR', async () => {
    const client = await setUpUploads();
    const evil = uploadOf(7, { text: 'evil' });
    const path = '/nix/store/7jmqxqk23m2ij8g4kbpyns9qbgxvnd0n-dep';
    await client.put(evil.narUrl, evil.file);
    const claim = formatNarInfo({
      ...evil.info,
      path: path as typeof evil.info.path,
      ca: `fixed:r:${good.info.narHash}`,
    });
    const answer = await client.put('/7jmqxqk23m2ij8g4kbpyns9qbgxvnd0n.narinfo', claim);
    expect(answer).toMatchObject({ status: 400, text: expect.stringContaining('its CA') });
  });
});

describe('a NAR is refused', () => {
  const { nar, file, narUrl } = uploadOf(1);
  const urlOf = (bytes: Buffer, ending = '.zst'): string =>
    `/nar/${sha256(bytes).slice('sha256:'.length)}.nar${ending}`;
  const trailing = Buffer.concat([zstdCompressSync(nar), Buffer.from('more')]);
  const junk = Buffer.from('no NAR at all');
  const cut = file.subarray(0, -3);
  const evilName = narOf({ entries: [['../up', { contents: '' }]] });

  it.each<[string, string, Buffer, string]>([
    ['whose hash is not that of its name', narUrl, junk, 'zstd'],
    ['that is none', urlOf(zstdCompressSync(junk)), zstdCompressSync(junk), 'does not start with'],
    ['that is not compressed as its name says', urlOf(nar), nar, 'the file is no NAR compressed with zstd'],
    ['that ends too early', urlOf(cut), cut, 'zstd'],
    ['with bytes behind it', urlOf(trailing), trailing, 'zstd'],
    ['with files outside of it', urlOf(evilName, ''), evilName, 'cannot name a file'],
    ['with a name that is no hash', '/nar/hello.nar.xz', file, 'is no name of a NAR'],
    ['with a name below others', `/nar/u${narUrl}`, file, 'is no name of a NAR'],
    ['with an ending that nobody knows', `${narUrl}x`, file, 'is no name of a NAR'],
  ])('%s', async (_what, url, body, reason) => {
    const client = await setUpUploads();
    expect(await client.put(url, body)).toMatchObject({ status: 400, text: expect.stringContaining(reason) });
    expect(await filesIn(client.directory)).toEqual([[], [], []]);
  });

  it('with another content than its plain name says', async () => {
    const client = await setUpUploads();
    const { info } = uploadOf(1, { compression: 'none' });
    expect(await client.put(`/${info.url}`, narOf({ contents: 'x' }))).toMatchObject({
      status: 400,
      text: expect.stringContaining('has the hash'),
    });
  });

  it('that was cut off, by which nothing is left', async () => {
    const client = await setUpUploads();
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(file.subarray(0, 20));
        controller.error(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
      },
    });
    expect((await client.put(narUrl, broken)).status).toBe(400);
    const short = await client.put(urlOf(nar, ''), nar, { 'content-length': String(nar.length + 1) });
    expect(short).toMatchObject({ status: 400, text: expect.stringContaining('cut off') });
    expect(await filesIn(client.directory)).toEqual([[], [], []]);
    expect((await client.ask('HEAD', narUrl, LOGIN)).status).toBe(404);
  });
});
