/**
 * Servers of the function's own process, such as that of an HTTP adapter: what is asked of them leaves nothing. Asked by http.ts and
 * undici.ts.
 */

import type { Server } from "node:net";

interface Listening {
  address?: Server["address"];
  listening?: unknown;
}

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[?::1\]?|0\.0\.0\.0)$/i;

/** Whether the function itself listens there: at a path, or at a port of its own machine. No adapter asks for a WebSocket: that is a call. */
export function isOwnServer(path: unknown, host: string, port: number, upgrade: unknown): boolean {
  if (typeof upgrade === "string" && upgrade.toLowerCase() === "websocket") return false;
  if (typeof path !== "string" && !LOOPBACK.test(host)) return false;
  const { _getActiveHandles: handles } = process as unknown as { _getActiveHandles?: () => Listening[] };
  return (handles?.() ?? []).some((handle) => {
    if (handle.listening !== true || typeof handle.address !== "function") return false;
    const address = handle.address();
    if (typeof address === "string" || address === null) return typeof path === "string" && address === path;
    return typeof path !== "string" && address.port === port;
  });
}
