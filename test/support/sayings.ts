/** Resolves once `stderr` has held a text; rejects when the command ends without. */
export function sayings(
  stderr: NodeJS.ReadableStream,
  result: Promise<{ readonly stderr: string }>,
): (text: string) => Promise<void> {
  let text = '';
  const waiting: { readonly text: string; readonly resolve: () => void }[] = [];
  stderr.on('data', (chunk: Buffer) => {
    text += chunk;
    for (const each of waiting) if (text.includes(each.text)) each.resolve();
  });
  return (wanted) => {
    const said = new Promise<void>((resolve) => {
      waiting.push({ text: wanted, resolve });
      if (text.includes(wanted)) resolve();
    });
    const ended = result.then(({ stderr }) => Promise.reject(new Error(`it never said '${wanted}': ${stderr}`)));
    return Promise.race([said, ended]);
  };
}
