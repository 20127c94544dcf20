/** The order of test files: those that take long first, so that at the end no core waits for the last of them. */
import { relative, sep } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Directories of test/ whose files take long, whatever their size, from the longest on. */
const LONG = ['model', 'integration', 'cli'];

export class LongestFirst extends BaseSequencer {
  /** Within a directory and among the others, as vitest has it: by what each took the last time, if that is known, or by size. */
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rankOf = ({ moduleId }: TestSpecification): number => {
      const [, room = ''] = relative(this.ctx.config.root, moduleId).split(sep);
      const rank = LONG.indexOf(room);
      return rank === -1 ? LONG.length : rank;
    };
    return (await super.sort(files)).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
