/** Whose uploads are taken, and whose signatures they bear then. */
import { describe, expect, it } from 'vitest';
import { hashPartOfAddress } from '../../../src/nix/content-address.ts';
import { signPathInfo } from '../../../src/nix/signature.ts';
import { hashPartOf, nameOf, parseStorePath } from '../../../src/nix/store-path.ts';
import { newKey } from '../set-up.ts';
import { LOGIN, READ_TOKEN, setUpUploads, TOKEN, uploadOf } from './set-up.ts';

describe('who may upload', () => {
  it('shows a token for it, as a Bearer or a password', async () => {
    const client = await setUpUploads();
    const { narUrl, file } = uploadOf(1);
    const basic = (login: string): string => `Basic ${Buffer.from(login).toString('base64')}`;
    const statuses: number[] = [];
    for (const authorization of [
      '',
      'Bearer x',
      basic(`${TOKEN}:`),
      basic('u:x'),
      `Bearer ${READ_TOKEN}`,
      basic(`u:${TOKEN}`),
    ]) {
      const answer = await client.ask('PUT', narUrl, { authorization }, file);
      statuses.push(answer.status);
      if (answer.status === 401) expect(answer.headers.get('www-authenticate')).toContain('Basic');
    }
    expect(statuses).toEqual([401, 401, 401, 401, 403, 201]);
  });

  it('is nobody where uploads are off, and no page of another origin', async () => {
    const client = await setUpUploads();
    const { narUrl, file } = uploadOf(1);
    const foreign = { ...LOGIN, origin: 'http://elsewhere.example' };
    const refused = await client.ask('PUT', narUrl, foreign, file);
    expect([refused.status, refused.bytes.toString()]).toEqual([403, expect.stringContaining('another origin')]);
    expect((await client.ask('PUT', '/nix-cache-info', LOGIN, 'x')).status).toBe(405);
    expect((await client.ask('DELETE', narUrl, LOGIN)).status).toBe(405);
    const off = await setUpUploads({ uploads: undefined });
    const answer = await off.ask('PUT', narUrl, LOGIN, file);
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    const withoutTokens = await setUpUploads({ access: undefined });
    expect((await withoutTokens.ask('PUT', narUrl, LOGIN, file)).status).toBe(405);
  });

  it.each([
    ['/log/0c11zs3wjk3nhz1jmhk0pq8z7mjsjz3m-x.drv', /build logs are not taken/],
    ['/debuginfo/0123456789abcdef0123456789abcdef01234567.debug', /without \?index-debug-info=true/],
    ['/build-trace-v2/0c11zs3wjk3nhz1jmhk0pq8z7mjsjz3m-x.drv/out.doi', /build traces are not taken/],
    ['/nix-cache-info', /takes GET, HEAD only/],
  ])('is told what is not taken: %s', async (path, said) => {
    const { status, text } = await (await setUpUploads()).put(path, 'x');
    expect([status, text]).toEqual([405, expect.stringMatching(said)]);
  });

  it('needs a signature for what is named by its contents, too, which is no more served without one', async () => {
    const { info } = uploadOf(1);
    const ca = `fixed:r:${info.narHash}`;
    const path = parseStorePath(`/nix/store/${hashPartOfAddress(ca, info)}-${nameOf(info.path)}`);
    const upload = { ...uploadOf(1), narInfoUrl: `/${hashPartOf(path)}.narinfo` };
    const client = await setUpUploads({ signingKeys: [] });
    expect(await client.upload(upload, { path, ca })).toEqual({
      status: 400,
      text: expect.stringContaining('nobody has signed it'),
    });
    const signed = { ...info, path, ca };
    const sigs = [signPathInfo(signed, newKey('builder-1'))];
    expect((await client.upload(upload, { path, ca, sigs })).status).toBe(201);
    const strict = await setUpUploads({
      reader: client.uploads.reader(),
      trustedPublicKeys: [newKey('other-1').publicKey],
    });
    expect((await strict.get(upload.narInfoUrl)).status).toBe(404);
  });

  it('is told that uploads are off, and how they are turned on', async () => {
    const off = await setUpUploads({ uploads: undefined, access: undefined });
    for (const path of [uploadOf(1).narUrl, uploadOf(1).narInfoUrl, '/log/0c11zs3wjk3nhz1jmhk0pq8z7mjsjz3m-x.drv']) {
      const { status, text } = await off.put(path, 'x');
      expect([status, text]).toEqual([
        405,
        'Method Not Allowed: uploads are off here; nixcache serve --upload-token-file FILE turns them on\n',
      ]);
    }
    const nobody = await setUpUploads({ access: undefined });
    expect((await nobody.put(uploadOf(1).narUrl, 'x')).text).toContain('no token of this server may push');
  });

  it('is believed as far as a trusted key goes, where keys are asked for', async () => {
    const [ours, theirs, strange] = [newKey('ours-1'), newKey('theirs-1'), newKey('strange-1')];
    const trusted = [ours.publicKey, theirs.publicKey];
    const upload = uploadOf(1);
    const by = (key: typeof ours) => ({ sigs: [signPathInfo(upload.info, key)] });

    const keyless = await setUpUploads({ signingKeys: [], trustedPublicKeys: trusted });
    for (const changes of [{}, by(strange)]) {
      const refused = await keyless.upload(upload, changes);
      expect(refused).toMatchObject({ status: 400, text: expect.stringContaining('nix store sign') });
    }
    // Nobody vouches for it yet, so that only who brought it sees it.
    expect((await keyless.get(upload.narUrl)).status).toBe(404);
    expect((await keyless.get(upload.narUrl, LOGIN)).status).toBe(200);
    expect(await keyless.upload(upload, by(theirs))).toMatchObject({ status: 201 });
    expect((await keyless.get(upload.narUrl)).status).toBe(200);

    const signing = await setUpUploads({ signingKeys: [ours], trustedPublicKeys: trusted });
    expect(await signing.upload(upload)).toMatchObject({ status: 201 });
    expect((await signing.get(upload.narInfoUrl)).text).toContain('Sig: ours-1:');
    const wrongKey = await setUpUploads({ signingKeys: [strange], trustedPublicKeys: trusted });
    expect(await wrongKey.upload(upload)).toMatchObject({ text: expect.stringContaining('its own key is not among') });
    const nothing = await setUpUploads({ signingKeys: [] });
    expect(await nothing.upload(upload)).toMatchObject({ status: 400, text: expect.stringContaining('--key-file') });
    expect(await nothing.upload(upload, by(strange))).toMatchObject({ status: 201 });
  });
});
