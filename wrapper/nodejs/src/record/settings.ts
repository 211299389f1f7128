/** Settings as the extension reads them (extension/src/settings), with its defaults. `tests/settings.json` holds both to it. */

const DEFAULT_SOCKET = "otel-xray";
const DEFAULT_DAEMON = "127.0.0.1:2000";

/** Without what is blank around it. */
function value(environ: NodeJS.ProcessEnv, name: string): string {
  return (environ[name] ?? "").replace(/^[ \t\n\f\r]+|[ \t\n\f\r]+$/g, "");
}

export function word(environ: NodeJS.ProcessEnv, name: string): string {
  return value(environ, name).toLowerCase();
}

/** A switch that is off by default; undefined where it cannot be understood. */
export function isOn(environ: NodeJS.ProcessEnv, name: string): boolean | undefined {
  const said = word(environ, name);
  if (["true", "1", "yes", "on"].includes(said)) return true;
  return ["", "false", "0", "no", "off"].includes(said) ? false : undefined;
}

/** The name of the abstract socket. It never makes a path. */
export function agentSocket(environ: NodeJS.ProcessEnv): string {
  const name = value(environ, "OTEL_XRAY_AGENT_SOCKET");
  return /^[\w.-]{1,100}$/.test(name) ? name : DEFAULT_SOCKET;
}

/** Where the extension stands in for the X-Ray daemon; undefined where it does not, or at an address that the SDK is not given. */
export function daemonAddress(environ: NodeJS.ProcessEnv): [host: string, port: number] | undefined {
  const said = value(environ, "OTEL_XRAY_DAEMON");
  if (said.toLowerCase() === "off" || isLoopback6(said)) return undefined;
  return loopback4(said) ?? loopback4(DEFAULT_DAEMON);
}

const loopback4 = (address: string): [host: string, port: number] | undefined => {
  const { isIPv4 } = require("node:net") as typeof import("node:net");
  const [, host = "", digits = ""] = /^(localhost|127\.[\d.]+):(\d+)$/.exec(address) ?? [];
  const numbers = host === "localhost" ? "127.0.0.1" : host;
  return isIPv4(numbers) && Number(digits) <= 0xffff ? [numbers, Number(digits)] : undefined;
};

const isLoopback6 = (address: string): boolean => {
  const { isIPv6 } = require("node:net") as typeof import("node:net");
  const [, host = "", digits = ""] = /^\[([\da-fA-F:.]+)\]:(\d+)$/.exec(address) ?? [];
  return isIPv6(host) && new URL(`http://[${host}]`).hostname === "[::1]" && Number(digits) <= 0xffff;
};
