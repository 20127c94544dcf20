/** Texts that must never be shown, and their removal from whatever is written. */

const MASK = '***';
/** Shorter ones would blot out ordinary words, and protect nobody. */
const MIN_LENGTH = 4;

export class Secrets {
  readonly #forms = new Set<string>();

  /** Learns a secret in every form in which it may turn up; a key `name:base64` without its name, which is public. */
  add(secret: string | undefined): void {
    const text = secret?.trim() ?? '';
    const parts = [text, ...(/^[^\s:]+:[A-Za-z0-9+/=\s]{40,}$/.test(text) ? [text.slice(text.indexOf(':') + 1)] : [])];
    for (const part of parts.flatMap((each) => [each, ...each.split('\n').map((line) => line.trim())])) {
      if (part.length < MIN_LENGTH) continue;
      for (const form of [part, encodeURIComponent(part), JSON.stringify(part).slice(1, -1)]) this.#forms.add(form);
    }
  }

  redact(text: string): string {
    let shown = text;
    // The longest first: one secret may hold another.
    for (const form of [...this.#forms].sort((a, b) => b.length - a.length)) shown = shown.replaceAll(form, MASK);
    return shown;
  }
}
