import type { FileHandle } from 'node:fs/promises';

/** So many bytes, from `offset` on. @throws what the disk says; a RangeError when the file is too short */
export async function readAll(handle: FileHandle, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await handle.read(buffer, at, length - at, offset + at);
    if (bytesRead === 0) throw new RangeError(`the file ends ${length - at} bytes too soon`);
    at += bytesRead;
  }
  return buffer;
}
