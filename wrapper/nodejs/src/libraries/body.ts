/**
 * Parameters that the body of a call says at its top level: in JSON, as a query, or in CBOR. What is cut or unclear says nothing. Those who
 * know a call by its request ask for the names that they want.
 */

/** Bytes of a body that are looked at. */
export const MAX_BODY = 65_536;

/** What is wanted of the body. Of a parameter that is an object, its names are the value. */
export function parametersIn(type: string, body: Buffer, wanted: readonly string[]): Record<string, unknown> {
  const part = body.length > MAX_BODY ? body.subarray(0, MAX_BODY) : body;
  if (type.includes("json")) return inJson(part.toString(), wanted);
  if (type.includes("x-www-form-urlencoded")) return inQuery(part.toString("latin1"), part.length < body.length, wanted);
  return type.includes("cbor") ? inCbor(part, wanted) : {};
}

function inQuery(query: string, isCut: boolean, wanted: readonly string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  const pairs = query.split("&");
  // The last may go on.
  if (isCut) pairs.pop();
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    const name = pair.slice(0, equals);
    if (wanted.includes(name)) found[name] = new URLSearchParams(pair).get(name);
  }
  return found;
}

function inJson(json: string, wanted: readonly string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  members(json, json.search(/\S/), (name, from, to) => {
    if (!wanted.includes(name)) return;
    if (json[from] === '"') found[name] = JSON.parse(json.slice(from, to));
    if (json[from] !== "{") return;
    const names: Record<string, unknown> = {};
    members(json, from, (inner) => (names[inner] = true));
    found[name] = names;
  });
  return found;
}

const STRUCTURE = /["{}[\]]/g;

/** Calls `each` with every member of the object that begins there, as far as they are whole. */
function members(json: string, start: number, each: (name: string, from: number, to: number) => void): void {
  if (json[start] !== "{") return;
  const blank = (at: number): number => {
    let next = at;
    while (next < json.length && " \t\r\n,:".includes(json[next] as string)) next++;
    return next;
  };
  for (let at = blank(start + 1); json[at] === '"'; ) {
    const end = endOfValue(json, at);
    const from = blank(end);
    const to = end < 0 ? -1 : endOfValue(json, from);
    if (to < 0) return;
    each(JSON.parse(json.slice(at, end)) as string, from, to);
    at = blank(to);
  }
}

/** Behind the value; -1 where it is cut. */
function endOfValue(json: string, from: number): number {
  if (!'"{['.includes(json[from] ?? "x")) {
    const length = json.slice(from, from + 64).search(/[,\s}\]]/);
    return length < 0 ? -1 : from + length;
  }
  let depth = 0;
  for (let at = from; ; ) {
    STRUCTURE.lastIndex = at;
    const sign = STRUCTURE.exec(json);
    if (sign === null) return -1;
    at = sign.index + 1;
    if (sign[0] === '"') at = endOfText(json, at);
    else if (sign[0] === "{" || sign[0] === "[") depth++;
    else depth--;
    if (at <= 0) return -1;
    if (depth === 0) return at;
  }
}

/** Behind the closing quotation mark. */
function endOfText(json: string, from: number): number {
  for (let quote = json.indexOf('"', from); quote >= 0; quote = json.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (json[quote - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return quote + 1;
  }
  return -1;
}

/** Maps, and whatever is in them, up to the first that is cut or unclear. */
function inCbor(data: Buffer, wanted: readonly string[]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  let at = 0;
  const head = (): [major: number, value: number] => {
    const first = data.readUInt8(at++);
    const info = first & 31;
    if (info < 24) return [first >> 5, info];
    if (info === 31) return [first >> 5, Infinity];
    if (info > 27) throw new RangeError("no CBOR");
    const bytes = 1 << (info - 24);
    const value = bytes === 8 ? Number(data.readBigUInt64BE(at)) : data.readUIntBE(at, bytes);
    at += bytes;
    return [first >> 5, value];
  };
  const isBreak = (): boolean => data.readUInt8(at) === 0xff && ++at > 0;
  const item = (depth: number): unknown => {
    if (depth > 64) throw new RangeError("nested too deeply");
    const [major, value] = head();
    if (major === 2 || major === 3) {
      if (value === Infinity) {
        while (!isBreak()) item(depth + 1);
        return undefined;
      }
      at += value;
      if (at > data.length) throw new RangeError("cut");
      return major === 3 && value <= 2048 ? data.toString("utf8", at - value, at) : undefined;
    }
    if (major === 4) for (let left = value; left > 0 && !(value === Infinity && isBreak()); left--) item(depth + 1);
    if (major === 5) return map(value, depth);
    return major === 6 ? item(depth + 1) : undefined;
  };
  const map = (size: number, depth: number): Record<string, unknown> => {
    const names: Record<string, unknown> = {};
    for (let left = size; left > 0 && !(size === Infinity && isBreak()); left--) {
      const name = item(depth + 1);
      const value = item(depth + 1);
      if (typeof name !== "string") continue;
      if (depth === 0 && wanted.includes(name)) found[name] = value;
      names[name] = true;
    }
    return names;
  };
  try {
    item(0);
  } catch {
    // What has been whole is known.
  }
  return found;
}
