/** The names of entries, end to end in small letters: some 30 bytes each, and searched at the speed of memory. */
import { Column } from './column.ts';

const SEPARATOR = 0x0a;

export class NameList {
  #bytes = Buffer.alloc(1024);
  #end = 0;
  /** Of each name, in the order in which they were added. */
  readonly #starts = new Column(Uint32Array);

  get count(): number {
    return this.#starts.length;
  }

  /** Adds the name of the next entry, which is ASCII. */
  add(name: string): void {
    const needed = this.#end + name.length + 1;
    if (needed > this.#bytes.length) {
      const bytes = Buffer.alloc(Math.max(needed, Math.ceil(this.#bytes.length * 1.5)));
      this.#bytes.copy(bytes);
      this.#bytes = bytes;
    }
    this.#starts.push(this.#end);
    this.#end += this.#bytes.write(name.toLowerCase(), this.#end, 'latin1');
    this.#bytes[this.#end++] = SEPARATOR;
  }

  /** The name with this number, in small letters. */
  at(number: number): string {
    return this.#bytes.toString('latin1', this.#starts.at(number), this.#endOf(number));
  }

  compare(a: number, b: number): number {
    return this.#bytes.compare(this.#bytes, this.#starts.at(b), this.#endOf(b), this.#starts.at(a), this.#endOf(a));
  }

  /**
   * Numbers of names that hold each of `words`, in whatever letters, in the order in which they were added; undefined in between,
   * for those that hold one of them.
   */
  *search(words: readonly string[]): Generator<number | undefined> {
    const [longest = '', ...others] = words.map((word) => word.toLowerCase()).sort((a, b) => b.length - a.length);
    if (longest === '' || longest.includes('\n')) return;
    const text = this.#bytes.subarray(0, this.#end);
    for (let at = text.indexOf(longest, 0, 'latin1'); at >= 0; ) {
      const number = this.#numberAt(at);
      const end = this.#endOf(number);
      const name = text.subarray(this.#starts.at(number), end);
      yield others.every((word) => name.includes(word, 0, 'latin1')) ? number : undefined;
      at = text.indexOf(longest, end + 1, 'latin1');
    }
  }

  #endOf(number: number): number {
    return (number + 1 < this.count ? this.#starts.at(number + 1) : this.#end) - 1;
  }

  /** The name that the byte at `at` is of. */
  #numberAt(at: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#starts.at(middle) <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
