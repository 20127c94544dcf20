import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { atLeast, inBatches, NixCommand } from '../../src/nix-store/nix-command.ts';
import { tempDir } from '../support/temp-dir.ts';

/** A command whose `nix` is `script`; the far side, played. */
function playing(dir: string, script: string, killGraceMs = 5_000): NixCommand {
  mkdirSync(join(dir, 'bin'));
  writeFileSync(join(dir, 'bin/nix'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(dir, 'bin/nix'), 0o755);
  return new NixCommand({
    env: { PATH: [join(dir, 'bin'), '/usr/bin', '/bin'].join(delimiter) },
    cwd: dir,
    killGraceMs,
  });
}

it('says how to get Nix where there is none', async () => {
  const command = new NixCommand({ env: { PATH: '/nonexistent' } });
  await expect(command.version()).rejects.toMatchObject({
    code: 'ERR_NIX',
    message: expect.stringMatching(/no Nix found.*install/),
  });
});

it('says so when the directory is not there', async () => {
  await expect(new NixCommand({ cwd: '/nonexistent' }).version()).rejects.toMatchObject({ code: 'ERR_USAGE' });
});

describe('with a nix', () => {
  it.each([
    ['nix (Nix) 2.8.0', { major: 2, minor: 8 }],
    ['nix (Nix) 2.34.8', { major: 2, minor: 34 }],
    ['nix (Determinate Nix 3.11.2) 2.31.1', { major: 2, minor: 31 }],
    ['nix (Lix, like Nix) 2.93.3', { major: 2, minor: 18 }],
  ])("reads '%s'", async (text, version) => {
    const command = playing(await tempDir(), `echo '${text}'`);
    expect(await command.version()).toEqual(version);
  });

  it('gives the arguments as they are, and turns flakes on', async () => {
    const command = playing(await tempDir(), 'for arg; do echo "<$arg>"; done');
    const text = await command.nix(['eval', '$(id)', 'two words', '*']);
    expect(text.split('\n')).toEqual(
      ['--extra-experimental-features', 'nix-command flakes', 'eval', '$(id)', 'two words', '*'].map((a) => `<${a}>`),
    );
  });

  it('hands over what may be secret in NIX_CONFIG, after what is there, and nothing of it in the arguments', async () => {
    const dir = await tempDir();
    const command = new NixCommand({
      env: { ...playing(dir, 'echo "$@"; echo "$NIX_CONFIG"').env, NIX_CONFIG: 'cores = 2' },
      cwd: dir,
      settings: [
        ['access-tokens', 'github.com=one\ngitlab.com=PAT:two'],
        ['cores', '3'],
        ['extra-substituters', 'https://me:three@cache.example'],
        ['extra-access-tokens', 'example.org=four'],
      ],
    });
    const [args, ...config] = (await command.nix(['eval'])).split('\n');
    expect(args).toMatch(/--option cores 3 eval$/);
    expect(args).not.toMatch(/one|two|three|four/);
    expect(config).toEqual([
      'cores = 2',
      'access-tokens = github.com=one gitlab.com=PAT:two',
      'extra-substituters = https://me:three@cache.example',
      'extra-access-tokens = example.org=four',
    ]);
    await expect(command.with([['access-tokens', 'x=a#b']]).nix(['eval'])).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });

  it('reports a failure with the error, and without what surrounds it', async () => {
    const command = playing(await tempDir(), 'echo "warning: x" >&2; echo "error: it broke" >&2; exit 1');
    await expect(command.nix(['build', 'x'])).rejects.toMatchObject({
      code: 'ERR_NIX',
      message: 'nix build failed: it broke',
      summary: 'it broke',
    });
  });

  it('asks for the version once, and again after a failure', async () => {
    const dir = await tempDir();
    const command = playing(dir, 'echo x >> calls; [ -e ready ] && echo 2.8');
    await expect(command.version()).rejects.toMatchObject({ code: 'ERR_NIX' });
    writeFileSync(join(dir, 'ready'), '');
    await Promise.all([command.version(), command.version()]);
    expect(readFileSync(join(dir, 'calls'), 'utf8')).toBe('x\nx\n');
  });

  it('asks on for the others when the first who asked gives up', async () => {
    const dir = await tempDir();
    const command = playing(dir, 'touch asked; while [ ! -e ready ]; do sleep 0.05; done; echo 2.8');
    const first = new AbortController();
    const both = Promise.allSettled([command.version({ signal: first.signal }), command.version()]);
    await expect.poll(() => existsSync(join(dir, 'asked'))).toBe(true);
    first.abort();
    writeFileSync(join(dir, 'ready'), '');
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  });

  it('stops the program and what it started, when asked to', async () => {
    const dir = await tempDir();
    const command = playing(dir, 'sleep 60 & echo $! > child; wait');
    const controller = new AbortController();
    const running = command.nix(['eval'], { signal: controller.signal });
    await expect.poll(() => existsSync(join(dir, 'child')) && readFileSync(join(dir, 'child'), 'utf8')).toMatch(/\d/);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    const child = Number(readFileSync(join(dir, 'child'), 'utf8'));
    await expect.poll(() => isAlive(child)).toBe(false);
  });

  it('does not start when it was already asked to stop', async () => {
    const dir = await tempDir();
    const command = playing(dir, 'touch started');
    await expect(command.nix(['eval'], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_INTERRUPTED',
    });
    expect(existsSync(join(dir, 'started'))).toBe(false);
  });

  it('gives up after the deadline', async () => {
    const command = playing(await tempDir(), 'exec sleep 60');
    await expect(command.nix(['eval'], { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'ERR_NIX',
      message: expect.stringMatching(/took over 0.05 s/),
    });
  });

  it('kills what does not stop when asked politely', async () => {
    const dir = await tempDir();
    const command = playing(dir, "trap 'touch asked' TERM; touch ready; while :; do sleep 0.05; done", 2000);
    const controller = new AbortController();
    const running = command.nix(['eval'], { signal: controller.signal });
    await expect.poll(() => existsSync(join(dir, 'ready'))).toBe(true);
    controller.abort();
    await expect(running).rejects.toMatchObject({ code: 'ERR_INTERRUPTED' });
    expect(existsSync(join(dir, 'asked'))).toBe(true);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

it('cuts long argument lists, and keeps every argument in order', () => {
  const args = Array.from({ length: 1000 }, (_, i) => `argument-${i}`);
  const batches = inBatches(args, 1000);
  expect(batches.flat()).toEqual(args);
  for (const batch of batches) expect(batch.join(' ').length).toBeLessThanOrEqual(1000);
  expect(batches.length).toBeLessThan(20);
  expect(inBatches([])).toEqual([]);
});

it('compares versions by their numbers', () => {
  expect(atLeast({ major: 2, minor: 33 }, 2, 33)).toBe(true);
  expect(atLeast({ major: 2, minor: 8 }, 2, 33)).toBe(false);
  expect(atLeast({ major: 3, minor: 0 }, 2, 33)).toBe(true);
});
