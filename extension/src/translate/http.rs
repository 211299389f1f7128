//! The `http` block: xray.md sections 3.4 and 14.3.

use super::document::Metadata;
use super::metadata::cut_250;
use super::{Subject, mask};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Serialize;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Http {
    #[serde(skip_serializing_if = "Request::is_empty")]
    request: Request,
    #[serde(skip_serializing_if = "Response::is_empty")]
    response: Response,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x_forwarded_for: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_length: Option<i64>,
}

impl Request {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Response {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The status code under its old or new name.
pub(super) fn status_code(subject: &Subject<'_>) -> Option<i64> {
    subject.attributes.integer(&["http.response.status_code", "http.status_code"])
}

/// The block, when the span speaks of HTTP at all.
pub(super) fn block(subject: &Subject<'_>, is_segment: bool, metadata: &mut Metadata) -> Option<Http> {
    let attributes = &subject.attributes;
    let status = status_code(subject);
    let method = attributes.text(&["http.request.method", "http.method"]).map(cut_250);
    let is_http = method.is_some()
        || status.is_some()
        || ["url.full", "http.url", "url.path", "http.target"].iter().any(|name| attributes.has(name));
    if !is_http {
        return None;
    }
    let is_server = matches!(subject.kind, SpanKind::Server | SpanKind::Consumer);
    let url = url(subject, is_server).map(|full| {
        let cut = cut_250(full.as_str().into());
        if cut.len() < full.len() {
            metadata.entry("default".into()).or_default().insert("url.full".into(), full.into());
        }
        cut
    });
    let client = attributes.text(&["client.address", "http.client_ip"]);
    let peer = || attributes.text(&["network.peer.address", "net.sock.peer.addr", "net.peer.ip"]);
    let (client_ip, x_forwarded_for) = match client {
        Some(client) if is_server => {
            let forwarded = peer().is_none_or(|peer| peer != client);
            (Some(cut_250(client)), (forwarded && is_segment).then_some(true))
        }
        _ if is_server => (peer().map(cut_250), None),
        _ => (None, None),
    };
    let user_agent = attributes.text(&["user_agent.original", "http.user_agent"]).map(cut_250);
    let content_length = attributes.integer(&[
        "http.response.body.size",
        "http.response.header.content-length",
        "http.response_content_length",
    ]);
    Some(Http {
        request: Request { method, url, user_agent, client_ip, x_forwarded_for },
        response: Response { status, content_length },
    })
    .filter(|http| *http != Http::default())
}

/// The full URL, masked (BET-23): as given, else put together.
fn url(subject: &Subject<'_>, is_server: bool) -> Option<String> {
    let attributes = &subject.attributes;
    if let Some(full) = attributes.text(&["url.full", "http.url"]) {
        // Parts of the URL say nothing new.
        for part in ["server.address", "server.port", "url.scheme", "url.path", "url.query", "net.peer.name"]
        {
            attributes.get(&[part]);
        }
        return Some(mask::url(&full));
    }
    let host_names: &[&str] = if is_server {
        &["server.address", "http.host", "http.server_name", "net.host.name"]
    } else {
        &[
            "server.address",
            "net.peer.name",
            "http.host",
            "network.peer.address",
            "net.peer.ip",
            "net.sock.peer.addr",
        ]
    };
    let host = attributes.text(host_names)?;
    let path = match attributes.text(&["url.path"]) {
        Some(path) => match attributes.text(&["url.query"]) {
            Some(query) => format!("{path}?{}", query.trim_start_matches('?')),
            None => path.into_owned(),
        },
        None => attributes.text(&["http.target"])?.into_owned(),
    };
    let scheme = attributes.text(&["url.scheme", "http.scheme"]).unwrap_or("http".into());
    let port_names: &[&str] = if is_server {
        &["server.port", "net.host.port"]
    } else {
        &["server.port", "net.peer.port", "network.peer.port"]
    };
    let port = attributes.integer(port_names).filter(|_| !host.contains(':')).map_or_else(
        String::new,
        |port| match (&*scheme, port) {
            ("http", 80) | ("https", 443) => String::new(),
            (_, port) => format!(":{port}"),
        },
    );
    Some(mask::url(&format!("{scheme}://{host}{port}{path}")))
}
