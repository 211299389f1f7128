/** How connections to databases and brokers begin: strictly told apart from everything else, and from each other. Asked by socket.ts. */

export const SSL_REQUEST = 80877103;
export const GSS_REQUEST = 80877104;

/** PostgreSQL: a start-up message, or the question whether the server speaks TLS. */
export function isPostgres(first: Buffer): boolean {
  if (first.length < 8) return false;
  const size = first.readUInt32BE(0);
  const code = first.readUInt32BE(4);
  if (code === SSL_REQUEST || code === GSS_REQUEST) return size === 8 && first.length === 8;
  return code >>> 16 === 3 && size > 8 && size <= Math.min(first.length, 10_000) && first[size - 1] === 0;
}

const PROTOCOL_41 = 1 << 9;
const TLS = 1 << 11;

/** MySQL: the server has greeted, and the client answers with what it can do, 23 bytes of which are nearly all zero. */
export function isMysql(first: Buffer): boolean {
  const size = first.length < 36 ? 0 : first.readUIntLE(0, 3);
  if (size < 32 || size + 4 !== first.length || first[3] !== 1) return false;
  const capabilities = first.readUInt32LE(4);
  // MariaDB says more in the last four of them.
  if (!(capabilities & PROTOCOL_41) || first.subarray(13, 32).some((byte) => byte !== 0)) return false;
  return capabilities & TLS ? size === 32 : size > 32;
}

const OP_QUERY = 2004;
const OP_MSG = 2013;
const MONGODB_HEAD = 16;

/** MongoDB: drivers say hello first, in a message or as a query of old. */
export function isMongodb(first: Buffer): boolean {
  if (first.length < MONGODB_HEAD + 10) return false;
  const size = first.readInt32LE(0);
  if (size < MONGODB_HEAD + 10 || size > 1024 * 1024 || first.readInt32LE(8) !== 0) return false;
  const operation = first.readInt32LE(12);
  if (operation === OP_QUERY) return first.toString("latin1", 20, Math.max(20, first.indexOf(0, 20))).endsWith(".$cmd");
  return operation === OP_MSG && (first.readUInt32LE(16) & 0xfffc) === 0 && (first[20] ?? 2) < 2;
}

/** Redis: drivers send each command as a list of texts. */
export function isRedis(first: Buffer): boolean {
  return /^\*[1-9]\d{0,6}\r\n\$[1-9]\d{0,3}\r\n/.test(first.toString("latin1", 0, 32));
}

const API_VERSIONS = 18;

/** Kafka: drivers ask first which versions of each request the broker speaks. */
export function isKafka(first: Buffer): boolean {
  if (first.length < 14 || first.readInt32BE(0) + 4 !== first.length) return false;
  const name = first.readInt16BE(12);
  return first.readInt16BE(4) === API_VERSIONS && first.readUInt16BE(6) <= 4 && name >= -1 && 14 + Math.max(0, name) <= first.length;
}

/** AMQP 0-9-1, which RabbitMQ speaks. */
export function isAmqp(first: Buffer): boolean {
  return first.length >= 8 && first.toString("latin1", 0, 8) === "AMQP\0\0\t\u0001";
}
