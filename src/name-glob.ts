/** Globs over names of roots, pins and paths. */
import picomatch from 'picomatch';

/** Whether a name is `glob`, or matches it. The empty glob matches the empty name alone. */
export function nameMatcher(glob: string): (name: string) => boolean {
  const isMatch = glob === '' ? () => false : picomatch(glob, { dot: true, nonegate: true });
  return (name) => name === glob || isMatch(name);
}
