"""The http block: MAP-35 to MAP-42."""

from __future__ import annotations

from otlp import event, span

SHOP = {"service.name": "shop", "cloud.provider": "aws"}
OLD = {"http.method": "GET", "http.status_code": 200}
NEW = {"http.request.method": "GET", "http.response.status_code": 200}

CASES = {
    "map-35-single-attributes": (
        [
            span(f"only {key}", "server", {key: value})
            for key, value in {
                "http.method": "PUT",
                "http.request.method": "PUT",
                "http.client_ip": "203.0.113.9",
                "http.user_agent": "curl/8",
                "user_agent.original": "curl/8",
                "http.status_code": 201,
                "http.response.status_code": 201,
                "http.url": "https://shop.example/a",
                "url.full": "https://shop.example/a",
                "http.scheme": "https",
                "url.scheme": "https",
                "http.host": "shop.example",
                "http.target": "/a?b=c",
                "http.server_name": "shop.example",
                "net.host.port": 8080,
                "url.path": "/a",
                "url.query": "b=c",
            }.items()
        ],
        SHOP,
    ),
    "map-36-old-and-new": (
        [
            span("old first", "client", {**OLD, **NEW, "http.user_agent": "a/1", "user_agent.original": "a/1"}),
            span("new first", "client", {**NEW, **OLD, "user_agent.original": "a/1", "http.user_agent": "a/1"}),
            span("they differ", "client", {**NEW, "http.method": "POST"}),
        ],
        SHOP,
    ),
    "map-36-status-as-text": ([span("GET", "client", {"http.method": "GET", "http.status_code": "404"})], SHOP),
    "map-36-unknown-method": (
        [span("HTTP", "client", {"http.request.method": "_OTHER", "http.request.method_original": "BREW"})],
        SHOP,
    ),
    "map-37-client-full-url": (
        [
            span("old", "client", {**OLD, "http.url": "https://api.example.com:8443/v1?k=1"}),
            span("new", "client", {**NEW, "url.full": "https://api.example.com:8443/v1?k=1"}),
        ],
        SHOP,
    ),
    "map-37-client-url-with-credentials": (
        [
            span("user", "client", {**NEW, "url.full": "https://anna:pass@api.example.com/v1"}),
            span(
                "query",
                "client",
                {**NEW, "url.full": "https://b.example.com/o?X-Amz-Signature=abc123&sig=s&AWSAccessKeyId=AKIA&k=1"},
            ),
        ],
        SHOP,
    ),
    "map-37-client-long-url": ([span("GET", "client", {**NEW, "url.full": "https://a.example/" + "p" * 400})], SHOP),
    "map-37-client-url-from-parts": (
        [
            span(
                "old names",
                "client",
                {
                    **OLD,
                    "http.scheme": "https",
                    "net.peer.name": "api.example.com",
                    "net.peer.port": 8443,
                    "http.target": "/v1?k=1",
                },
            ),
            span("host with port", "client", {**OLD, "http.host": "api.example.com:8080", "http.target": "/v1"}),
            span("peer ip", "client", {**OLD, "net.peer.ip": "203.0.113.7", "net.peer.port": 80}),
            span(
                "new names",
                "client",
                {
                    **NEW,
                    "url.scheme": "https",
                    "server.address": "api.example.com",
                    "server.port": 8443,
                    "url.path": "/v1",
                    "url.query": "k=1",
                },
            ),
            span(
                "usual port",
                "client",
                {**NEW, "url.scheme": "https", "server.address": "api.example.com", "server.port": 443},
            ),
        ],
        SHOP,
    ),
    "map-38-server-url-from-parts": (
        [
            span(
                "old names",
                "server",
                {
                    **OLD,
                    "http.scheme": "https",
                    "http.host": "shop.example",
                    "http.target": "/cart?id=7",
                    "http.route": "/cart",
                },
            ),
            span(
                "server name",
                "server",
                {**OLD, "http.scheme": "http", "http.server_name": "shop.example", "net.host.port": 8080},
            ),
            span(
                "host name",
                "server",
                {**OLD, "http.scheme": "http", "net.host.name": "shop.example", "net.host.port": "80"},
            ),
            span(
                "new names",
                "server",
                {
                    **NEW,
                    "url.scheme": "https",
                    "server.address": "shop.example",
                    "server.port": 443,
                    "url.path": "/cart",
                    "http.route": "/cart",
                },
            ),
            span(
                "new names, a query",
                "server",
                {
                    **NEW,
                    "url.scheme": "http",
                    "server.address": "shop.example",
                    "server.port": 3000,
                    "url.path": "/cart",
                    "url.query": "id=7",
                },
            ),
            span("full url", "server", {**OLD, "http.url": "https://shop.example/cart?id=7"}),
        ],
        SHOP,
    ),
    "map-39-no-host-no-url": ([span("GET", "server", {**OLD, "http.target": "/a", "http.scheme": "http"})], SHOP),
    "map-40-client-address": (
        [
            span("old", "server", {**OLD, "http.client_ip": "203.0.113.9"}),
            span("old, behind a proxy", "server", {**OLD, "http.client_ip": "203.0.113.9", "net.peer.ip": "10.0.0.1"}),
            span("old, peer only", "server", {**OLD, "net.peer.ip": "10.0.0.1"}),
            span("new", "server", {**NEW, "client.address": "203.0.113.9"}),
            span(
                "new, behind a proxy",
                "server",
                {**NEW, "client.address": "203.0.113.9", "network.peer.address": "10.0.0.1"},
            ),
            span(
                "new, direct",
                "server",
                {**NEW, "client.address": "203.0.113.9", "network.peer.address": "203.0.113.9"},
            ),
            span("new, peer only", "server", {**NEW, "network.peer.address": "10.0.0.1", "network.peer.port": 9}),
            span("new, a name", "server", {**NEW, "client.address": "laptop.example"}),
            span("sock", "server", {**OLD, "net.sock.peer.addr": "10.0.0.1"}),
        ],
        SHOP,
    ),
    "map-41-content-length": (
        [
            span("new", "client", {**NEW, "http.response.body.size": 1234}),
            span("old", "client", {**OLD, "http.response_content_length": 1234}),
            span("header", "client", {**NEW, "http.response.header.content-length": ["1234"]}),
            span(
                "message",
                "client",
                {**OLD, "message.type": "RECEIVED", "messaging.message_payload_size_bytes": 1234},
            ),
            span(
                "event",
                "client",
                OLD,
                events=[event("message", attrs={"message.type": "RECEIVED"}, messaging_message_x=1)],
            ),
            span(
                "event with size",
                "client",
                OLD,
                events=[
                    event(
                        "message",
                        attrs={"message.type": "RECEIVED", "messaging.message_payload_size_bytes": 77},
                    )
                ],
            ),
        ],
        SHOP,
    ),
    "map-42-network-attributes-without-http": (
        [
            span(
                "connect",
                "client",
                {
                    "server.address": "db1",
                    "server.port": 5432,
                    "net.peer.name": "db1",
                    "net.peer.port": 5432,
                    "net.peer.ip": "10.0.0.7",
                    "network.peer.address": "10.0.0.7",
                    "network.peer.port": 5432,
                    "network.transport": "tcp",
                    "host.name": "here",
                    "client.address": "laptop.example",
                },
            ),
            span("serve", "server", {"server.address": "here", "client.address": "laptop.example"}),
        ],
        SHOP,
    ),
}
