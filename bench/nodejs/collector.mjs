// What receives spans in a collector's place: OTLP over HTTP, and the X-Ray daemon's datagrams with OTLP inside.

import dgram from "node:dgram";
import http from "node:http";
import { reader, span } from "../../tests/nodejs/stage/otlp.mjs";

const DATAGRAM = /^\{"format":"json","version":1\}\nT1[SU]/;

const nested = (bytes, field) => [...reader(bytes)()].filter(([number]) => number === field).map(([, value]) => value);

/** The spans of an ExportTraceServiceRequest, in protobuf or JSON. */
function spansOf(body) {
  if (body[0] === 0x7b) return JSON.parse(body).resourceSpans.flatMap((resource) => resource.scopeSpans).flatMap((scope) => scope.spans);
  return nested(body, 1)
    .flatMap((resource) => nested(resource, 2))
    .flatMap((scope) => nested(scope, 2))
    .map(span);
}

export class Collector {
  spans = [];
  #server = http.createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      if (request.url === "/v1/traces") this.#received(() => spansOf(Buffer.concat(pieces)));
      response.writeHead(200, { "Content-Type": "application/json" }).end("{}");
    });
  });
  #daemon = dgram.createSocket("udp4", (datagram) => {
    this.#received(() => spansOf(Buffer.from(datagram.toString("latin1").replace(DATAGRAM, ""), "base64")));
  });

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    await new Promise((resolve) => this.#daemon.bind(0, "127.0.0.1", resolve));
    this.otlp = `http://127.0.0.1:${this.#server.address().port}`;
    this.daemon = `127.0.0.1:${this.#daemon.address().port}`;
  }

  /** While cold and warm runs are measured nothing is decoded: it would take the processor from them. */
  keep = false;

  #received(decode) {
    if (this.keep) this.spans.push(...decode());
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
    this.#daemon.close();
  }
}
