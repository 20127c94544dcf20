/** Whether the result could be stored is found out before anything is evaluated or built. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serve } from '../../../http/far-side.ts';
import { type NixCli, openNixCli } from '../nix-cli.ts';

let cli: NixCli;
beforeAll(async () => {
  cli = await openNixCli();
});
afterAll(() => cli.nix.cleanup());

/** A registry that has nothing yet, and answers uploads with `status`. */
const answering = (status: number, code: string) =>
  serve((request, response) => {
    const reads = request.method === 'GET' || request.method === 'HEAD';
    response.writeHead(reads ? 404 : status, { 'content-type': 'application/json', location: '/v2/team/cache/x' });
    response.end(JSON.stringify({ errors: [{ code: reads ? 'NAME_UNKNOWN' : code, message: 'said the registry' }] }));
  });

describe('a registry that takes no uploads', () => {
  it.each([
    [403, 'DENIED', 'may this user write to this repository?'],
    [401, 'UNAUTHORIZED', 'docker login'],
    [404, 'NAME_UNKNOWN', 'does the repository have to be created first?'],
    [405, 'UNSUPPORTED', 'said the registry'],
  ])('with %d %s stops publish and push before they begin', async (status, code, remedy) => {
    const registry = await answering(status, code);
    const to = `${new URL(registry.url).host}/team/cache`;
    const published = await cli.run(['publish', '--to', to, '--no-upstream', '--only', '**.good']);
    expect(published).toMatchObject({ exitCode: 1, stdout: '' });
    expect(published.stderr).toContain(`${to} cannot be written to, so nothing is built or published: POST `);
    expect(published.stderr).toContain(remedy);
    expect(published.stderr).not.toMatch(/looking for outputs|building/);
    expect(registry.seen.filter(({ method }) => method === 'POST')).toHaveLength(1);
  });

  it('is not asked for an upload by a dry run', async () => {
    const registry = await answering(403, 'DENIED');
    const to = `${new URL(registry.url).host}/team/cache`;
    const { exitCode } = await cli.run(['publish', '--to', to, '--no-upstream', '--only', '**.good', '--dry-run']);
    expect(exitCode).toBe(0);
    expect(registry.seen.map(({ method }) => method)).not.toContain('POST');
  });
});

it('a directory that takes no files stops publish before it begins', async () => {
  const path = join(cli.nix.dir, 'layout');
  await cli.run(['publish', '--to', `oci:${path}`, '--no-upstream', '--only', '**.good']);
  await rm(join(path, '.ingest'), { recursive: true });
  await writeFile(join(path, '.ingest'), '');
  const { exitCode, stderr } = await cli.run(['publish', '--to', `oci:${path}`, '--no-upstream', '--only', '**.good']);
  expect(exitCode).toBe(1);
  expect(stderr).not.toMatch(/looking for outputs|building/);
});
