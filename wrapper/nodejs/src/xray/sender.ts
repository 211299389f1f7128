/** Where the documents of the X-Ray SDK go: to the extension, over a socket of their own. The SDK's patches call it. */

import type { Socket } from "node:dgram";
import fs = require("node:fs");
import { daemonAddress } from "../record/settings";

/** In front of every document. */
export const HEADER = '{"format":"json","version":1}\n';
/** Documents that wait for the socket to be there. */
const MAX_QUEUED = 64;
/** Bytes of what a datagram holds. */
export const MAX_DATAGRAM = 65_507;

/** Where the extension takes the SDK's documents, unless the function sends them elsewhere (ENV-2). */
export function extensionAddress(environ: NodeJS.ProcessEnv): [host: string, port: number] | undefined {
  const chosen = environ.AWS_XRAY_DAEMON_ADDRESS ?? "";
  const lambdas = `${environ._AWS_XRAY_DAEMON_ADDRESS}:${environ._AWS_XRAY_DAEMON_PORT}`;
  const own = daemonAddress(environ);
  const isOwn = ["", lambdas, own?.join(":")].includes(chosen) || chosen.startsWith("169.254.");
  return isOwn ? own : undefined;
}

/** Whether a UDP socket is bound there, as the kernel lists them: no datagram would be answered. */
export function isListening(host: string, port: number): boolean {
  const digits = (value: number, count: number): string => value.toString(16).toUpperCase().padStart(count, "0");
  const address = host.split(".").reverse().map((part) => digits(Number(part), 2));
  const wanted = `${address.join("")}:${digits(port, 4)}`;
  try {
    return fs.readFileSync("/proc/net/udp", "latin1").split("\n").some((line) => line.trim().split(/\s+/)[1] === wanted);
  } catch {
    return false;
  }
}

/** A connected socket sends at once: the document is with the extension before the invocation is over. */
export function connect(host: string, port: number): (document: string) => void {
  const { createSocket } = require("node:dgram") as typeof import("node:dgram");
  const socket: Socket = createSocket("udp4");
  let queued: string[] | undefined = [];
  const ignore = (): void => undefined;
  socket.on("error", ignore);
  socket.connect(port, host, () => {
    for (const document of queued ?? []) socket.send(document, ignore);
    queued = undefined;
  });
  socket.unref();
  return (document) => {
    if (queued === undefined) socket.send(document, ignore);
    else if (queued.length < MAX_QUEUED) queued.push(document);
  };
}
