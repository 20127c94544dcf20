import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import {
  ANSWER_NIX,
  DEFAULT_KINDS,
  KINDS,
  type Question,
  SCOPES,
  wrapperFlake,
} from '../../src/nix-store/flake-expression.ts';

/** What Nix makes of a string literal: its escapes, and no interpolation. Source: NixOS/nix src/libexpr/lexer.l. */
function unquote(literal: string): string {
  const body = literal.slice(1, -1);
  expect(body.replaceAll(/\\[\s\S]/g, '')).not.toMatch(/"|\$\{/);
  const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };
  return body.replaceAll(/\\([\s\S])/g, (_, char: string) => escapes[char] ?? char);
}

/** URL and question in a wrapper, as Nix reads them. */
function read(flake: string): { readonly url: string; readonly question: unknown } {
  const literal = String.raw`("(?:\\[\s\S]|[^"\\])*")`;
  const url = new RegExp(`^  inputs\\.target\\.url = ${literal};$`, 'm').exec(flake)?.[1];
  const question = new RegExp(`\\(builtins\\.fromJSON ${literal}\\)`).exec(flake)?.[1];
  if (url === undefined || question === undefined) throw new Error(`no wrapper: ${flake}`);
  return { url: unquote(url), question: JSON.parse(unquote(question)) };
}

describe('the wrapper', () => {
  it('is a flake with the other as its input', () => {
    const flake = wrapperFlake('github:o/r/0123', { ask: 'root' });
    expect(flake).toMatch(/^\{\n {2}inputs\.target\.url = "github:o\/r\/0123";\n {2}outputs = \{ self, target \}: \{/);
    expect(flake.endsWith('};\n}\n')).toBe(true);
  });

  it.each([`git+file:///a/\${builtins.abort "x"}`, 'path:/a"; x = "', `path:/$$\${x}`, 'path:/back\\slash\\'])(
    'lets no URL be anything but a string: %s',
    (url) => {
      expect(read(wrapperFlake(url, { ask: 'root' }))).toEqual({ url, question: { ask: 'root' } });
    },
  );
});

test('any question and URL arrive as they are', () => {
  // Control characters are none of URLs and attribute names; JSON would write them as \u00XX, which Nix has not.
  const text = fc.string({ unit: 'grapheme' }).filter((each) => !/\p{Cc}/u.test(each));
  const target = fc.record({ kind: fc.constantFrom(...KINDS), path: fc.array(text, { minLength: 1, maxLength: 4 }) });
  fc.assert(
    fc.property(text, fc.array(target), (url, targets) => {
      const question: Question = { ask: 'outputs', targets };
      expect(read(wrapperFlake(url, question))).toEqual({ url, question });
    }),
  );
});

describe('the answer', () => {
  it('has no interpolation and no escapes, so that it says in Nix what it says here', () => {
    expect(ANSWER_NIX).not.toMatch(/\$\{|\\|''/);
  });

  it('knows each kind of output, and each way to ask', () => {
    const derivations = /toDerivation = \{\n([\s\S]*?)\n {2}\};/.exec(ANSWER_NIX)?.[1] ?? '';
    const known = [...derivations.matchAll(/^ {4}(\w+) = value:/gm)].map(([, kind]) => kind);
    expect([...known, 'apps'].sort()).toEqual([...KINDS].sort()); // apps are described otherwise
    const answers = /getAttr question\.ask \{\n([\s\S]*)\n\}/.exec(ANSWER_NIX)?.[1] ?? '';
    expect([...answers.matchAll(/^ {2}(\w+) =/gm)].map(([, ask]) => ask)).toEqual([
      'root',
      'nixConfig',
      'names',
      'all',
      'outputs',
    ]);
  });

  it('knows each shape of a scope', () => {
    for (const shape of new Set(SCOPES.map((scope) => scope.shape))) {
      if (shape !== 'bySystem') expect(ANSWER_NIX).toContain(`shape == "${shape}"`); // which is what is left
    }
  });
});

it('every kind has a scope, of its own name first, and no two share one', () => {
  for (const kind of KINDS) expect(SCOPES.find((scope) => scope.kind === kind)?.path).toEqual([kind]);
  expect(new Set(SCOPES.map(({ path }) => path.join('.'))).size).toBe(SCOPES.length);
  for (const kind of DEFAULT_KINDS) expect(KINDS).toContain(kind);
});
