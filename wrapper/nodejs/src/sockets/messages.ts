/**
 * What the protocols of databases are read with: whatever comes in, little is kept and nothing is read beyond its end. Shared by the
 * readers.
 */

import { MAX_TEXT } from "../trace/span";

/** Bytes of a message that are kept where it comes in pieces. */
const MAX_KEPT = MAX_TEXT + 1024;

const EMPTY: Buffer = Buffer.alloc(0);

/** Cuts a stream into messages that begin with a head of fixed size, which tells the size of what follows. */
export class Messages {
  private head: Buffer = EMPTY;
  private body: Buffer = EMPTY;
  /** Bytes of the body that have not come; below zero while the head is not complete. */
  private missing = -1;

  /** `sizeOf` throws where the head is none; `onMessage` gets the body, of a long one that came in pieces its beginning. */
  constructor(
    private readonly headSize: number,
    private readonly sizeOf: (head: Buffer) => number,
    private readonly onMessage: (head: Buffer, body: Buffer, size: number) => void,
  ) {}

  feed(data: Buffer): void {
    let rest = data;
    do {
      if (this.missing < 0) {
        const wanted = this.headSize - this.head.length;
        this.head = join(this.head, rest.subarray(0, wanted));
        rest = rest.subarray(wanted);
        if (this.head.length < this.headSize) return;
        this.missing = this.sizeOf(this.head);
        if (!(this.missing >= 0)) throw new Error("a message says that it is shorter than it is");
      }
      const piece = rest.subarray(0, this.missing);
      this.body = this.body.length === 0 ? piece : join(this.body, piece.subarray(0, Math.max(0, MAX_KEPT - this.body.length)));
      this.missing -= piece.length;
      rest = rest.subarray(piece.length);
      if (this.missing > 0) {
        // A copy, so that the much larger piece can be let go.
        if (this.body === piece) this.body = Buffer.from(piece.subarray(0, MAX_KEPT));
        return;
      }
      const { head, body } = this;
      this.head = this.body = EMPTY;
      this.missing = -1;
      this.onMessage(head, body, this.sizeOf(head));
    } while (rest.length > 0);
  }
}

function join(kept: Buffer, piece: Buffer): Buffer {
  return kept.length === 0 ? piece : Buffer.concat([kept, piece]);
}

/** The text that ends with a zero byte, and where the next one begins; what is cut off ends where it is cut. */
export function zeroEnded(data: Buffer, start: number): [text: string, next: number] {
  const found = data.indexOf(0, start);
  const end = found < 0 ? data.length : found;
  return [data.toString("utf8", start, Math.min(end, start + MAX_TEXT)), end + 1];
}
