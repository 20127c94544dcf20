import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { freePort, until } from './registry.ts';

/** Debian's nginx on a free port of 127.0.0.1, serving a directory as files with one worker a core. */
export interface Nginx {
  readonly url: string;
  readonly version: string;
  stop(): Promise<void>;
}

/** @throws {Error} when it is not installed, or does not answer in time */
export async function startNginx(root: string): Promise<Nginx> {
  const { stderr: version } = await execa('nginx', ['-v']);
  const dir = await mkdtemp(join(tmpdir(), 'nixcache-nginx-'));
  const port = await freePort();
  const config = join(dir, 'nginx.conf');
  await writeFile(
    config,
    `user root; worker_processes auto; pid ${dir}/pid; error_log ${dir}/error.log; daemon off;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; open_file_cache max=10000 inactive=600s;
  client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  server { listen 127.0.0.1:${port}; root ${root}; }
}
`,
  );
  const child = execa('nginx', ['-c', config], { stdio: 'ignore', reject: false, forceKillAfterDelay: 5000 });
  const url = `http://127.0.0.1:${port}`;
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await child;
    await rm(dir, { recursive: true, force: true });
  };
  if (await until(async () => (await fetch(`${url}/nix-cache-info`)).ok)) {
    return { url, version: version.trim(), stop };
  }
  await stop();
  throw new Error('nginx did not start; is it installed? (apt-get install nginx-light)');
}
