/**
 * Texts that must never be shown, and their removal from whatever is written.
 *
 * What else has the same letters is left alone: a name that is blotted out makes a result useless, and tells the password
 * to whoever knows the name. docs/threat-model.md says what is blotted out where.
 */
import { MASK, redactUrls } from '../../url-secrets.ts';

/** Shorter ones would blot out ordinary words, and protect nobody. */
const MIN_LENGTH = 4;
/** The same, of what may be part of a digest or a store path. */
const MIN_BASE64_LENGTH = 8;

/** Signatures of URLs that are remembered: an error quotes one of those that are under way. */
const MAX_PASSING = 256;
/** So much of a long secret is blotted out with what follows it: a quotation may be cut short. */
const CUT_LENGTH = 16;

/** The story, on stderr, quotes what others said; a result is ours, and is read by programs. */
type Place = 'story' | 'result';

interface Form {
  readonly text: string;
  readonly strength: Strength;
  /** How it begins, where that too is secret, and more of it than of anything else. */
  readonly start: string | undefined;
}

export class Secrets {
  readonly #known = new Set<string>();
  readonly #forms = new Map<string, Form>();
  readonly #passing = new Set<string>();
  #sorted: readonly Form[] | undefined;

  /**
   * Learns a secret in every form in which it may turn up; a key `name:base64` without its name, which is public. So may
   * be the first `publicLength` characters of others: a user's name before the password.
   */
  add(secret: string | undefined, publicLength = 0): void {
    const text = secret?.trim() ?? '';
    if (this.#known.has(text)) return;
    this.#known.add(text);
    this.#sorted = undefined;
    for (const part of partsOf(text)) {
      const isWhole = part === text;
      for (const form of formsOf(part, isWhole ? publicLength : 0)) this.#forms.set(form.text, form);
    }
  }

  /** Learns one that is soon replaced, as the signature of a URL is: the oldest are forgotten. */
  addPassing(secret: string): void {
    if (secret.length < CUT_LENGTH) return;
    this.#sorted = undefined;
    this.#passing.delete(secret);
    this.#passing.add(secret);
    for (const oldest of this.#passing) {
      if (this.#passing.size <= MAX_PASSING) break;
      this.#passing.delete(oldest);
    }
  }

  redact(text: string, place: Place = 'story'): string {
    let shown = redactUrls(text);
    const forms = this.#allForms().filter(({ strength }) => WHERE[place][strength] !== 'nowhere');
    for (const { text: form, strength } of forms) {
      if (!shown.includes(form)) continue;
      shown = shown.replaceAll(WHERE[place][strength] === 'anywhere' ? form : alone(form), MASK);
    }
    // What is left of them was cut short.
    for (const { start } of forms) if (start !== undefined) shown = withoutCut(shown, start);
    return shown;
  }

  /** The longest first: one secret may hold another. */
  #allForms(): readonly Form[] {
    const passing = [...this.#passing].flatMap((each) => [each, encodeURIComponent(each)]);
    this.#sorted ??= [...this.#forms.values(), ...passing.map((text) => formOf(text))].sort(
      (a, b) => b.text.length - a.text.length,
    );
    return this.#sorted;
  }
}

/**
 * How a secret looks: like nothing else; like a password, a word of letters and digits; or like a name that other things
 * have too: `ubuntu`, `x86_64-linux`, `cache.example.org-1`.
 */
type Strength = 'random' | 'password' | 'name';

const WHERE = {
  story: { random: 'anywhere', password: 'anywhere', name: 'alone' },
  result: { random: 'anywhere', password: 'alone', name: 'nowhere' },
} as const;

/** What names are joined by. */
const JOINTS = /[-_.:/+@]+/;
const MIN_PASSWORD_LENGTH = 8;
/** No word is as long, and no name changes as often between letters and digits, or small letters and capitals. */
const MIN_RANDOM_WORD = 20;
const MIN_RANDOM_CHANGES = 4;

function strengthOf(secret: string): Strength {
  const words = secret.split(JOINTS);
  const changes = [...secret.matchAll(/[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])/g)].length;
  if (/[^\w\-.:/+@]/.test(secret) || changes >= MIN_RANDOM_CHANGES) return 'random';
  if (words.some((word) => word.length >= MIN_RANDOM_WORD)) return 'random';
  const isMixed = /\d/.test(secret) && /[A-Za-z]/.test(secret);
  return isMixed && words.length === 1 && secret.length >= MIN_PASSWORD_LENGTH ? 'password' : 'name';
}

/** `form` where it is no part of a longer name. */
const alone = (form: string): RegExp => {
  const escaped = form.replaceAll(/[^A-Za-z0-9_]/gu, (sign) => `\\u{${sign.codePointAt(0)?.toString(16)}}`);
  return new RegExp(`(?<![\\w+/\\-]|\\w\\.)${escaped}(?![\\w+/\\-]|\\.\\w)`, 'gu');
};

/** All of a secret that has several lines, and each; of keys what is secret; what only wraps a secret is none. */
function partsOf(text: string): readonly string[] {
  const secret = text.replace(WRAPPED_KEY_NAME, '').replaceAll(KEY_NAMES, '');
  const keys = [...text.matchAll(KEY_NAMES)].map(
    ({ 0: name, index }) => text.slice(index + name.length).split(/\s/, 1)[0] ?? '',
  );
  const lines = secret.split('\n').map((line) => line.trim());
  const parts = [secret, secret.replaceAll(/\s+/g, ''), ...lines, ...keys];
  return [...new Set(parts)].filter((part) => part.length >= MIN_LENGTH && !/^-----[A-Z ]+-----$/.test(part));
}

/** The names of keys `name:base64`, one or several; one key's base64 may be on several lines. */
const KEY_NAMES = /(?<!\S)[^\s:]+:(?=[A-Za-z0-9+/=]{40,}(?!\S))/g;
const WRAPPED_KEY_NAME = /^[^\s:]+:(?=[A-Za-z0-9+/=\s]{40,}$)/;

function formOf(text: string, publicLength = 0): Form {
  const strength = strengthOf(text);
  const isLong = strength === 'random' && text.length >= 2 * CUT_LENGTH;
  return { text, strength, start: isLong ? startOf(text, publicLength) : undefined };
}

/** The shortest start of `text` that is not public, and no name; undefined where it is nearly all of it. */
function startOf(text: string, publicLength: number): string | undefined {
  const min = Math.max(CUT_LENGTH, publicLength + CUT_LENGTH / 2);
  for (let length = min; length <= text.length - CUT_LENGTH / 2; length += 1) {
    const start = text.slice(0, length);
    if (strengthOf(start) === 'random') return start;
  }
  return undefined;
}

/** `text` without words that begin like a secret. */
function withoutCut(text: string, start: string): string {
  let shown = text;
  for (let at = shown.indexOf(start); at >= 0; at = shown.indexOf(start, at + MASK.length)) {
    const [rest = ''] = /^[\w+/=.~%-]*/.exec(shown.slice(at + start.length)) ?? [];
    shown = shown.slice(0, at) + MASK + shown.slice(at + start.length + rest.length);
  }
  return shown;
}

/** As it is, in URLs, in JSON, in HTML, and within base64 of either alphabet, whatever stands before it: `user:` of a login. */
function formsOf(secret: string, publicLength: number): readonly Form[] {
  const percent = encodeURIComponent(secret);
  const lower = percent.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
  const encoded = [0, 1, 2].flatMap((offset) => inBase64(secret, offset));
  const publicText = secret.slice(0, publicLength);
  const plain = [secret, percent, lower, percent.replaceAll('%20', '+'), ...inJson(secret), ...inHtml(secret)];
  const encodedLength = Math.ceil((Buffer.byteLength(publicText) * 4) / 3);
  return [
    ...[...new Set(plain)].map((text) => formOf(text, encodeURIComponent(publicText).length)),
    ...encoded
      .flatMap((form) => [form, encodeURIComponent(form)])
      .map((text) => ({
        ...formOf(text, publicLength === 0 ? 0 : encodedLength),
        strength: 'random' as const,
      })),
  ];
}

/** As JavaScript writes it, as Go does, and as PHP does. */
function inJson(secret: string): readonly string[] {
  const text = JSON.stringify(secret).slice(1, -1);
  const unicode = (sign: string): string => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return [text, text.replaceAll(/[<>&]/g, unicode), text.replaceAll('/', '\\/')];
}

/** The ways of the escaping functions of Go, Python, PHP, Java, nginx and of templates in JavaScript. */
const HTML: readonly Readonly<Record<string, string>>[] = [
  { '"': '&quot;' },
  { '"': '&quot;', "'": '&#39;' },
  { '"': '&#34;', "'": '&#39;' },
  { '"': '&quot;', "'": '&#x27;' },
  { '"': '&quot;', "'": '&#039;' },
  { '"': '&quot;', "'": '&apos;' },
  { '"': '&quot;', "'": '&#39;', '/': '&#x2F;', '`': '&#x60;', '=': '&#x3D;' },
  { '"': '&quot;', "'": '&#x27;', '/': '&#x2F;', '`': '&#x60;' },
  {},
];

const inHtml = (secret: string): readonly string[] =>
  HTML.map((quotes) => {
    const codes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', ...quotes };
    return secret.replaceAll(/[&<>"'/`=]/g, (sign) => codes[sign] ?? sign);
  });

/** Those characters of the base64 of `secret` after `offset` other bytes that depend on it alone. */
function inBase64(secret: string, offset: number): readonly string[] {
  const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)]);
  const start = Math.ceil((offset * 8) / 6);
  const end = Math.floor((bytes.length * 8) / 6);
  if (end - start < MIN_BASE64_LENGTH) return [];
  return (['base64', 'base64url'] as const).map((alphabet) => bytes.toString(alphabet).slice(start, end));
}
