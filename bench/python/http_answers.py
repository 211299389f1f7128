"""What the HTTP servers of a bench have in common: quiet, connections kept, an answer in one write."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for an answer: in two, the second waits for an acknowledgement that comes 40 ms later.
    wbufsize = 65_536
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
