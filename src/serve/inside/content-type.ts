/** Content types of files in store paths: by their names, and where those say nothing by how they begin. */

/** Enough to tell text from what is none. */
export const SAMPLE_BYTES = 512;

const TEXT = 'text/plain; charset=utf-8';
const BINARY = 'application/octet-stream';

/** What a browser shows, or a tool wants to know; text in other languages than those of the web is plain text. */
const BY_EXTENSION: Readonly<Record<string, string>> = {
  ...{ html: 'text/html; charset=utf-8', htm: 'text/html; charset=utf-8', xhtml: 'application/xhtml+xml' },
  ...{ css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', mjs: 'text/javascript; charset=utf-8' },
  ...{ json: 'application/json', map: 'application/json', xml: 'application/xml', wasm: 'application/wasm' },
  ...{ svg: 'image/svg+xml', png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif' },
  ...{ webp: 'image/webp', avif: 'image/avif', ico: 'image/x-icon', bmp: 'image/bmp', tiff: 'image/tiff' },
  ...{ woff: 'font/woff', woff2: 'font/woff2', ttf: 'font/ttf', otf: 'font/otf' },
  ...{ mp3: 'audio/mpeg', ogg: 'audio/ogg', opus: 'audio/ogg', flac: 'audio/flac', wav: 'audio/wav' },
  ...{ mp4: 'video/mp4', webm: 'video/webm', mkv: 'video/x-matroska' },
  ...{ pdf: 'application/pdf', ps: 'application/postscript', epub: 'application/epub+zip' },
  ...{ gz: 'application/gzip', tgz: 'application/gzip', bz2: 'application/x-bzip2', xz: 'application/x-xz' },
  ...{ zst: 'application/zstd', zip: 'application/zip', jar: 'application/java-archive', tar: 'application/x-tar' },
  ...{ txt: TEXT, md: TEXT, rst: TEXT, log: TEXT, nix: TEXT, drv: TEXT, csv: 'text/csv; charset=utf-8' },
  ...{ toml: TEXT, yaml: TEXT, yml: TEXT, conf: TEXT, ini: TEXT, service: TEXT, desktop: TEXT, sh: TEXT, py: TEXT },
  ...{ c: TEXT, h: TEXT, hpp: TEXT, cpp: TEXT, rs: TEXT, go: TEXT, pc: TEXT, cmake: TEXT, patch: TEXT, diff: TEXT },
  ...{ so: BINARY, a: BINARY, o: BINARY, la: TEXT, bin: BINARY, exe: BINARY, dll: BINARY, pyc: BINARY },
};

/** By the name alone; undefined where the contents have to tell. */
export function typeByName(name: string): string | undefined {
  const extension = /[^.]\.([0-9A-Za-z]{1,8})$/.exec(name)?.[1]?.toLowerCase() ?? '';
  return Object.hasOwn(BY_EXTENSION, extension) ? BY_EXTENSION[extension] : undefined;
}

export const typeByContents = (isText: boolean): string => (isText ? TEXT : BINARY);

/** Whether `sample`, the beginning of a file, is UTF-8 without control characters; it may end within a character. */
export function looksLikeText(sample: Uint8Array): boolean {
  if (sample.some((byte) => (byte < 0x20 && !TEXT_CONTROLS.has(byte)) || byte === 0x7f)) return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(sample, { stream: true });
    return true;
  } catch {
    return false;
  }
}

/** Tab, line feed, form feed, carriage return and escape, which terminals' text has. */
const TEXT_CONTROLS: ReadonlySet<number> = new Set([0x09, 0x0a, 0x0c, 0x0d, 0x1b]);
