/** What settings hold: how each is read, and what the config file may say. */
import { absolutePath } from '../environment.ts';
import { NixcacheError } from '../errors.ts';
import { parseByteSize, parseDuration } from './quantities.ts';
import type { Place, Raw, SettingType } from './setting.ts';

export type One<T> = SettingType<T, 'value'>;
export type Many<T> = SettingType<T, 'values'>;

const isText = (value: unknown): value is string => typeof value === 'string' && value.trim() !== '';

/** Text, which is read only by commands that need it. */
export const text = <T>(parse: (text: string, place: Place) => T): One<T> => ({
  ...{ takes: 'value', words: 'text', holds: isText, absent: undefined },
  read: (raw, place) => parse(String(raw), place),
});

/** The same, but a config file in which it cannot be read is refused by every command. `words` say what is allowed. */
export const checked = <T>(words: string, parse: (text: string) => T, options: { readonly number?: boolean } = {}) =>
  ({
    ...text(parse),
    words,
    holds: (value) => (isText(value) || (options.number === true && typeof value === 'number')) && reads(parse, value),
  }) satisfies One<T>;

/** Several texts. In a variable they stand between spaces. */
export const texts = <T>(parse: (texts: readonly string[], place: Place) => T, absent: T): Many<T> => ({
  ...{ takes: 'values', words: 'a list of texts, like ["one", "two"]', absent },
  holds: (value) => Array.isArray(value) && value.every(isText),
  read: (raw, place) => parse(Array.isArray(raw) ? raw.map(String) : [String(raw)], place),
  split: (value) => value.split(/\s+/),
});

const toggle = (absent: boolean): SettingType<boolean, 'nothing'> => ({
  ...{ takes: 'nothing', words: 'true or false', absent },
  holds: (value) => typeof value === 'boolean',
  read: (raw) => raw === true,
});

/** Off, until it is given. */
export const SWITCH = toggle(false);
/** On, until its `--no-…` is given. */
export const ON = toggle(true);
export const TEXT = text((value) => value);
export const PATH = text((path, place) => absolutePath(path, place));
export const TEXTS = texts((values) => values, []);
/** Each on a line of its own in no variable: a path may hold spaces. */
export const PATHS: Many<readonly string[]> = {
  ...texts((paths, place) => paths.map((path) => absolutePath(path, place)), []),
  split: (value) => [value],
};

/** Seconds. */
export const DURATION = checked('a duration, like "30d", "12h", "90m", "45s" or "2w"', (value) => parseDuration(value));
/** Seconds, which may also be a bare number. */
export const TTL = checked(
  'a duration, like "5m", or a number of seconds',
  (value) => parseDuration(value, { bareSeconds: true }),
  { number: true },
);
/** Bytes. */
export const BYTE_SIZE = checked('a size, like "500M" or "2GiB", or a number of bytes', parseByteSize, {
  number: true,
});

/** A whole number; a number in the config file, too. `what` is told of one that is not: `a port`. */
export const integer = (least: number, most: number, what: string): One<number> => ({
  ...text((value) => parseInteger(value, least, most, what)),
  words: `a whole number from ${least} to ${most}`,
  holds: (value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= most,
});

function parseInteger(value: string, least: number, most: number, what: string): number {
  const number = /^\d{1,15}$/.test(value.trim()) ? Number(value) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new NixcacheError('ERR_USAGE', `'${value}' is not ${what}: give a whole number from ${least} to ${most}`);
}

function reads(parse: (text: string) => unknown, value: Raw): boolean {
  try {
    parse(String(value));
    return true;
  } catch {
    return false; // the words of the type say what is allowed
  }
}
