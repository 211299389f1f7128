//! The `http` block: xray.md sections 3.4 and 14.3.

use super::compose::Subject;
use super::document::Document;
use super::fields::{Meta, cut_250};
use super::key::{self, Key};
use super::mask;
use super::name::Remote;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Http<'a> {
    #[serde(skip_serializing_if = "is_empty")]
    pub(super) request: Request<'a>,
    #[serde(skip_serializing_if = "is_empty")]
    response: Response,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<Cow<'a, str>>,
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

fn is_empty<T: Default + PartialEq>(block: &T) -> bool {
    *block == T::default()
}

/// The status code under its old or new name.
pub(super) fn status_code(subject: &Subject<'_>) -> Option<i64> {
    subject.attributes.integer(key::STATUS)
}

/// What says that a span speaks of HTTP. A host alone does not: databases have one too (MAP-42).
const SIGNS: &[Key] = &[
    Key::HttpRequestMethod,
    Key::HttpMethod,
    Key::HttpResponseStatusCode,
    Key::HttpStatusCode,
    Key::UrlFull,
    Key::HttpUrl,
    Key::UrlPath,
    Key::HttpTarget,
    Key::UrlScheme,
    Key::HttpScheme,
    Key::HttpHost,
    Key::HttpServerName,
    Key::UserAgentOriginal,
    Key::HttpUserAgent,
    Key::HttpClientIp,
];

/// Sets the block, when the span speaks of HTTP at all.
pub(super) fn set<'a>(subject: &Subject<'a>, remote: Remote, document: &mut Document<'a>) {
    let attributes = &subject.attributes;
    if !attributes.has_any(SIGNS) {
        return;
    }
    let status = status_code(subject);
    let method = attributes.text(key::METHOD).map(cut_250);
    let serves = matches!(subject.kind, SpanKind::Server | SpanKind::Consumer) && remote == Remote::No;
    let full = if remote == Remote::Aws { None } else { url(subject, serves) };
    let url = full.map(|full| {
        let cut = cut_250(Cow::Owned(full.clone()));
        if cut.len() < full.len() {
            // BET-23: the whole of it, masked.
            document.metadata.entry("default").set("url.full", Meta::Text(full.into()));
        }
        cut
    });
    let (client_ip, x_forwarded_for) =
        if serves { client(subject, document.is_segment()) } else { (None, None) };
    let user_agent = attributes.text(key::USER_AGENT).map(cut_250);
    let content_length = attributes.integer(key::RESPONSE_SIZE).or_else(|| received_size(subject));
    let http = Http {
        request: Request { method, url, user_agent, client_ip, x_forwarded_for },
        response: Response { status, content_length: content_length.filter(|bytes| *bytes >= 0) },
    };
    document.http = Some(http).filter(|http| !is_empty(http));
}

/// Who asked: the address the server names, which is another one than the peer's behind a proxy.
fn client<'a>(subject: &Subject<'a>, is_segment: bool) -> (Option<Cow<'a, str>>, Option<bool>) {
    let attributes = &subject.attributes;
    let named = attributes.peek_text(key::CLIENT_ADDRESS).filter(|client| client.parse::<IpAddr>().is_ok());
    match named {
        Some(client) => {
            attributes.spend(key::CLIENT_ADDRESS);
            let forwarded = attributes.peek_text(key::PEER_ADDRESS).is_none_or(|peer| peer != client);
            (Some(cut_250(client)), (forwarded && is_segment).then_some(true))
        }
        // A host name stays in metadata: the field is for addresses.
        None => (attributes.text(key::PEER_ADDRESS).map(cut_250), None),
    }
}

/// The size of a message that was received, on the span or on its events (MAP-41).
fn received_size(subject: &Subject<'_>) -> Option<i64> {
    let attributes = &subject.attributes;
    let is_received = |kind: Option<Cow<'_, str>>| kind.as_deref() == Some("RECEIVED");
    if is_received(attributes.peek_text(&[Key::MessageType])) {
        return attributes.integer(key::MESSAGE_SIZE);
    }
    subject.span.events.iter().filter(|event| event.name == "message").find_map(|event| {
        let attributes = super::attributes::Attributes::new(&event.attributes);
        is_received(attributes.peek_text(&[Key::MessageType]))
            .then(|| attributes.integer(key::MESSAGE_SIZE))?
    })
}

/// The full URL, masked (BET-23): as given, else put together.
fn url(subject: &Subject<'_>, serves: bool) -> Option<String> {
    let attributes = &subject.attributes;
    if let Some(full) = attributes.text(key::URL) {
        // Its parts say nothing new.
        attributes.spend(&[
            Key::ServerAddress,
            Key::ServerPort,
            Key::UrlScheme,
            Key::UrlPath,
            Key::UrlQuery,
            Key::HttpScheme,
            Key::HttpTarget,
            Key::HttpHost,
            Key::NetPeerName,
            Key::NetPeerPort,
        ]);
        return Some(mask::url(&full));
    }
    let (hosts, ports) =
        if serves { (key::SERVER_HOST, key::SERVER_PORT) } else { (key::CLIENT_HOST, key::CLIENT_PORT) };
    let host = attributes.text(hosts)?;
    let path = match attributes.text(&[Key::UrlPath]) {
        Some(path) => match attributes.text(&[Key::UrlQuery]) {
            Some(query) => Cow::Owned(format!("{path}?{}", query.trim_start_matches('?'))),
            None => path,
        },
        None => attributes.text(&[Key::HttpTarget]).unwrap_or(Cow::Borrowed("/")),
    };
    let port = attributes.integer(ports);
    let scheme = attributes.text(key::SCHEME).unwrap_or(Cow::Borrowed(if port == Some(443) {
        "https"
    } else {
        "http"
    }));
    // `http.host` may carry a port of its own; an address of version 6 is not one.
    let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let has_port = !is_v6 && host.contains(':');
    let port = match (&*scheme, port) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        _ if has_port => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    let host = if is_v6 { format!("[{host}]") } else { host.into_owned() };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(mask::url(&format!("{scheme}://{host}{port}{slash}{path}")))
}
