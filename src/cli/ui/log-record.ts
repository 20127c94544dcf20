/** A line of a log that programs read: JSON, whatever the text in it. */
import { toJson } from './plain-text.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** What is known beside the words; what is undefined is left out. */
export type Facts = Readonly<Record<string, string | number | boolean | undefined>>;

/** Of a text from outside; the rest says nothing that the beginning did not. */
const MAX_TEXT_LENGTH = 4096;

/** `clean` takes secrets out of each text: out of the line it could take what makes it JSON. */
export function formatRecord(
  { time, level, message }: { readonly time: Date; readonly level: LogLevel; readonly message: string },
  facts: Facts,
  clean: (text: string) => string,
): string {
  const shown = (text: string): string => {
    const whole = clean(text);
    return whole.length > MAX_TEXT_LENGTH ? `${whole.slice(0, MAX_TEXT_LENGTH)}…` : whole;
  };
  const known = Object.entries(facts).map(([key, value]) => [key, typeof value === 'string' ? shown(value) : value]);
  return toJson({ time: time.toISOString(), level, msg: shown(message), ...Object.fromEntries(known) });
}
