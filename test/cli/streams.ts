/** Streams that keep what is written, for an Output. */
import { Output, type TextStream } from '../../src/cli/ui/output.ts';

class KeptStream implements TextStream {
  text = '';
  readonly isTTY: boolean | undefined;
  readonly columns: number | undefined;

  constructor(options: { readonly isTTY?: boolean; readonly columns?: number } = {}) {
    this.isTTY = options.isTTY;
    this.columns = options.columns;
  }

  write(text: string): void {
    this.text += text;
  }
}

export interface KeptOutput {
  readonly output: Output;
  readonly stdout: KeptStream;
  readonly stderr: KeptStream;
}

export function keptOutput(
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly isTTY?: boolean;
    readonly columns?: number;
  } = {},
): KeptOutput {
  const { env = {}, ...stream } = options;
  const stdout = new KeptStream(stream);
  const stderr = new KeptStream(stream);
  return { output: new Output({ stdout, stderr, env }), stdout, stderr };
}
