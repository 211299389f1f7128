// Ways of a runtime client to the Runtime API: each makes `call`, for one whole request, and `open`, for an answer that is streamed.

import { createRequire } from "node:module";
import { Writable } from "node:stream";

const require = createRequire(import.meta.url);
const BASE = "/2018-06-01/runtime";

function byHttp(address, maxSockets) {
  const http = require("node:http");
  const [hostname, port] = address.split(":");
  const agent = new http.Agent({ keepAlive: true, maxSockets });
  const call = (method, where, body, headers = {}) =>
    new Promise((resolve, reject) => {
      const request = http.request({ hostname, port, method, path: BASE + where, agent, headers }, (response) => {
        let data = "";
        response.setEncoding("utf8").on("data", (piece) => (data += piece));
        response.on("end", () => resolve({ headers: response.headers, data }));
      });
      request.on("error", reject).end(body);
    });
  const open = (where, headers) => {
    let request;
    const sent = new Promise((resolve, reject) => {
      request = http.request({ hostname, port, method: "POST", path: BASE + where, agent, headers }, (response) => response.resume().on("end", resolve));
      request.on("error", reject);
    });
    return { request, sent };
  };
  return { call, open };
}

function byFetch(address) {
  const call = async (method, where, body, headers = {}) => {
    const response = await fetch(`http://${address}${BASE}${where}`, { method, body, headers });
    return { headers: Object.fromEntries(response.headers), data: await response.text() };
  };
  const open = (where, { Trailer, ...headers }) => {
    const { readable, writable } = new TransformStream();
    const writer = writable.getWriter();
    const request = new Writable({
      write: (data, _encoding, done) => writer.write(data).then(() => done(), done),
      final: (done) => writer.close().then(() => done(), done),
    });
    // There are no trailers in a fetch.
    request.addTrailers = () => undefined;
    const answer = fetch(`http://${address}${BASE}${where}`, { method: "POST", body: readable, headers, duplex: "half" });
    return { request, sent: answer.then((response) => response.text()) };
  };
  return { call, open };
}

function bySocket(address) {
  const net = require("node:net");
  const [host, port] = address.split(":");
  const idle = [];
  /** A connection that nobody uses, and what makes a promise of its next response. */
  const connection = () => {
    const kept = idle.pop();
    if (kept !== undefined) return kept;
    // Both ways to connect.
    const socket = idle.length % 2 === 0 ? net.connect({ host, port: Number(port) }) : new net.Socket().connect(Number(port), host);
    const response = () =>
      new Promise((resolve, reject) => {
        let data = Buffer.alloc(0);
        const take = (piece) => {
          data = Buffer.concat([data, piece]);
          const end = data.indexOf("\r\n\r\n");
          if (end < 0) return;
          const lines = data.toString("latin1", 0, end).split("\r\n").slice(1);
          const headers = Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
          const body = bodyOf(data.subarray(end + 4), headers);
          if (body === undefined) return;
          socket.off("data", take).off("error", reject);
          idle.push({ socket, response });
          resolve({ headers, data: body.toString() });
        };
        socket.on("data", take).on("error", reject);
      });
    return { socket, response };
  };
  const head = (method, where, headers) =>
    `${method} ${BASE}${where} HTTP/1.1\r\n${Object.entries({ Host: address, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  const call = (method, where, body = "", headers = {}) => {
    const { socket, response } = connection();
    socket.write(head(method, where, { ...headers, "Content-Length": Buffer.byteLength(body) }));
    if (body !== "") socket.write(body);
    return response();
  };
  const open = (where, headers) => {
    const { socket, response } = connection();
    socket.write(head("POST", where, { ...headers, "Transfer-Encoding": "chunked" }));
    let trailers = "";
    const request = new Writable({
      write: (data, _encoding, done) => {
        socket.cork();
        socket.write(`${data.length.toString(16)}\r\n`, "latin1");
        socket.write(data);
        socket.write("\r\n", done);
        socket.uncork();
      },
      final: (done) => socket.write(`0\r\n${trailers}\r\n`, done),
    });
    request.addTrailers = (added) => (trailers = Object.entries(added).map(([name, value]) => `${name}: ${value}\r\n`).join(""));
    return { request, sent: response() };
  };
  return { call, open };
}

/** All of a body, or undefined while some of it is missing. */
function bodyOf(data, headers) {
  if (headers["transfer-encoding"] !== "chunked") {
    const length = Number(headers["content-length"] ?? 0);
    return data.length < length ? undefined : data.subarray(0, length);
  }
  const pieces = [];
  for (;;) {
    const end = data.indexOf("\r\n");
    if (end < 0) return undefined;
    const size = parseInt(data.toString("latin1", 0, end), 16);
    if (data.length < end + 2 + size + 2) return undefined;
    if (size === 0) return Buffer.concat(pieces);
    pieces.push(data.subarray(end + 2, end + 2 + size));
    data = data.subarray(end + 2 + size + 2);
  }
}

export const transports = { http: byHttp, fetch: byFetch, socket: bySocket };
