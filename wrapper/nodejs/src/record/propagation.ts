/** Which hosts are told of the trace: OTEL_XRAY_PROPAGATE, where it says anything but `all`. Asked by the recorder. */

/** Who may be told. */
export interface Destinations {
  /** Nobody, by no way. */
  readonly none: boolean;
  /** `port` is that of the URL, or its scheme's. */
  has: (host: string, port: number) => boolean;
}

type Pattern = (host: string, port: number) => boolean;

const NAME = /^[a-z0-9_.*-]+$/;
const IPV6 = /^[a-f0-9:.*]+$/;
/** A host in brackets or with at most one colon, then the port; or an IPv6 address. */
const HOST_AND_PORT = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/;
const MAX_PORT = 65_535;

/** `complain` is told of a part that makes no sense, and all may be told then. */
export function destinations(setting: string, complain: (key: string, message: string) => void): Destinations {
  const text = bare(setting).toLowerCase();
  const all = { none: false, has: () => true };
  if (text === "" || text === "all") return all;
  if (text === "none") return { none: true, has: () => false };
  const parts = text.split(",").flatMap((part) => bare(part) || []);
  const patterns: Pattern[] = [];
  for (const part of parts.length === 0 ? [text] : parts) {
    const pattern = parse(part);
    if (pattern === undefined) {
      // A password in front of a host is nobody's business.
      const shown = part.slice(part.lastIndexOf("@") + 1).slice(0, 40);
      const name = "OTEL_XRAY_PROPAGATE";
      complain(
        name,
        `${name}: "${shown}" is not understood: set it to \`all\`, \`none\`, or hosts such as \`*.example.com\`, comma separated; using the default (all)`,
      );
      return all;
    }
    patterns.push(pattern);
  }
  return {
    none: false,
    has: (host, port) => {
      const plain = plainHost(host.toLowerCase());
      return patterns.some((pattern) => pattern(plain, port));
    },
  };
}

/** Without what is blank around it. */
const bare = (text: string): string => text.replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, "");

function parse(part: string): Pattern | undefined {
  if (part === "all" || part === "none") return undefined;
  const isAddress = part.split(":").length > 2 && !part.startsWith("[");
  const [, inBrackets, name, digits] = isAddress ? [part, part] : (HOST_AND_PORT.exec(part) ?? []);
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && (port === 0 || port > MAX_PORT)) return undefined;
  const host = plainHost(inBrackets ?? name ?? "");
  if (!(host.includes(":") ? IPV6 : NAME).test(host)) return undefined;
  if (host.includes(":") && !host.includes("*") && ipv6(host) === undefined) return undefined;
  const pieces = host.split("*");
  return (to, itsPort) => (port === undefined || port === itsPort) && fits(pieces, to);
}

/** Without brackets and the dot of the root; an IPv6 address in its one spelling. */
function plainHost(host: string): string {
  const plain = host.startsWith("[") ? host.slice(1, -1) : host;
  if (plain.includes(":")) return ipv6(plain) ?? plain;
  return plain.endsWith(".") ? plain.slice(0, -1) : plain;
}

function ipv6(host: string): string | undefined {
  try {
    return new URL(`http://[${host}]/`).hostname.slice(1, -1);
  } catch {
    return undefined;
  }
}

/** Whether the host consists of the pieces, with anything between them. */
function fits([first = "", ...rest]: string[], host: string): boolean {
  const last = rest.pop();
  if (last === undefined) return host === first;
  const end = host.length - last.length;
  if (!host.startsWith(first) || !host.endsWith(last) || end < first.length) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = host.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}
