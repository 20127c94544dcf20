import { readFileSync } from 'node:fs';
import * as z from 'zod/mini';

const packageSchema = z.object({ version: z.string() });

/** `nixcache/<version>`; package.json lies two levels up from src/http and dist/lib. */
export function userAgent(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return `nixcache/${packageSchema.parse(JSON.parse(text)).version}`;
}
