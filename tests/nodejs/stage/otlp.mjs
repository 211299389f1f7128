// Reads OTLP spans, to look at what the agent wrote. Written apart from the agent's encoder.

export const reader = (bytes) => {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length) => {
    if (at + length > bytes.length) throw new Error(`a field of ${length} bytes ends behind the message`);
    return bytes.subarray(at, (at += length));
  };
  return function* () {
    while (at < bytes.length) {
      const tag = Number(varint());
      const wire = tag & 7;
      if (wire === 0) yield [tag >> 3, varint()];
      else if (wire === 1) yield [tag >> 3, take(8)];
      else if (wire === 2) yield [tag >> 3, take(Number(varint()))];
      else if (wire === 5) yield [tag >> 3, take(4)];
      else throw new Error(`wire type ${wire}`);
    }
  };
};

const text = (bytes) => bytes.toString("utf8");
const fixed64 = (bytes) => bytes.readBigUInt64LE();

function anyValue(bytes) {
  for (const [field, value] of reader(bytes)()) {
    if (field === 1) return text(value);
    if (field === 2) return value === 1n;
    if (field === 3) return Number(BigInt.asIntN(64, value));
    if (field === 4) return value.readDoubleLE();
    if (field === 5) return [...reader(value)()].map(([, item]) => anyValue(item));
    if (field === 6) return pairs([...reader(value)()].map(([, item]) => item));
    if (field === 7) return value;
  }
  return undefined;
}

const pairs = (entries) =>
  Object.fromEntries(
    entries.map((entry) => {
      const fields = Object.fromEntries(reader(entry)());
      return [text(fields[1]), anyValue(fields[2])];
    }),
  );

export function span(bytes) {
  const found = { parentId: "", events: [], links: [], status: 0, statusMessage: "", flags: 0, end: 0n };
  const attributes = [];
  for (const [field, value] of reader(bytes)()) {
    if (field === 1) found.traceId = value.toString("hex");
    else if (field === 2) found.spanId = value.toString("hex");
    else if (field === 3) found.traceState = text(value);
    else if (field === 4) found.parentId = value.toString("hex");
    else if (field === 5) found.name = text(value);
    else if (field === 6) found.kind = Number(value);
    else if (field === 7) found.start = fixed64(value);
    else if (field === 8) found.end = fixed64(value);
    else if (field === 9) attributes.push(value);
    else if (field === 10) found.droppedAttributes = Number(value);
    else if (field === 12) found.droppedEvents = Number(value);
    else if (field === 14) found.droppedLinks = Number(value);
    else if (field === 11) found.events.push(event(value));
    else if (field === 13) found.links.push(link(value));
    else if (field === 15) {
      for (const [part, content] of reader(value)()) {
        if (part === 2) found.statusMessage = text(content);
        else found.status = Number(content);
      }
    } else if (field === 16) found.flags = value.readUInt32LE();
  }
  found.attributes = pairs(attributes);
  return found;
}

function event(bytes) {
  const fields = [...reader(bytes)()];
  const of = (number) => fields.find(([field]) => field === number)?.[1];
  return {
    time: fixed64(of(1)),
    name: text(of(2)),
    attributes: pairs(fields.filter(([field]) => field === 3).map(([, value]) => value)),
  };
}

function link(bytes) {
  const fields = [...reader(bytes)()];
  const of = (number) => fields.find(([field]) => field === number)?.[1];
  return {
    traceId: of(1).toString("hex"),
    spanId: of(2).toString("hex"),
    attributes: pairs(fields.filter(([field]) => field === 4).map(([, value]) => value)),
  };
}
