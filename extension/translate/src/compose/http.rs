//! The `http` block: xray.md sections 3.4 and 14.3.

use crate::attributes::key::{self, Key};
use crate::compose::name::Remote;
use crate::compose::subject::Subject;
use crate::document::Document;
use crate::document::fields::{Meta, cut_250};
use crate::document::http::{Http, Request, Response};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use std::borrow::Cow;
use std::net::IpAddr;

/// The status code under its old or new name.
pub(crate) fn status_code(subject: &Subject<'_>) -> Option<i64> {
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
pub(crate) fn set<'a>(subject: &Subject<'a>, remote: Remote, document: &mut Document<'a>) {
    let attributes = &subject.attributes;
    if !attributes.has_any(SIGNS) {
        return;
    }
    let status = status_code(subject);
    let method = attributes.text(key::METHOD).map(cut_250);
    let serves = matches!(subject.kind, SpanKind::Server | SpanKind::Consumer) && remote == Remote::No;
    let full = if remote == Remote::Aws { None } else { url(subject, serves) };
    let url = full.map(|full| {
        let cut = cut_250(Cow::Borrowed(&full)).len();
        if cut == full.len() {
            return full;
        }
        let field = Cow::Owned(full[..cut].to_owned());
        // BET-23: the whole of it, masked.
        document.metadata.default.set("url.full", Meta::Text(full));
        field
    });
    let (client_ip, x_forwarded_for) =
        if serves { client(subject, document.is_segment()) } else { (None, false) };
    let user_agent = attributes.text(key::USER_AGENT).map(cut_250);
    let content_length = attributes.integer(key::RESPONSE_SIZE).or_else(|| received_size(subject));
    let http = Http {
        request: Request { method, url, user_agent, client_ip, x_forwarded_for },
        response: Response { status, content_length: content_length.filter(|bytes| *bytes >= 0) },
    };
    document.http = Some(http).filter(|http| *http != Http::default());
}

/// Who asked: the address the server names, which is another one than the peer's behind a proxy.
fn client<'a>(subject: &Subject<'a>, is_segment: bool) -> (Option<Cow<'a, str>>, bool) {
    let attributes = &subject.attributes;
    let named = attributes.peek_text(key::CLIENT_ADDRESS).filter(|client| client.parse::<IpAddr>().is_ok());
    match named {
        Some(client) => {
            attributes.spend(key::CLIENT_ADDRESS);
            let forwarded = attributes.peek_text(key::PEER_ADDRESS).is_none_or(|peer| peer != client);
            (Some(cut_250(client)), forwarded && is_segment)
        }
        // A host name stays in metadata: the field is for addresses.
        None => (attributes.text(key::PEER_ADDRESS).map(cut_250), false),
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
        let attributes = crate::attributes::Attributes::new(&event.attributes);
        is_received(attributes.peek_text(&[Key::MessageType]))
            .then(|| attributes.integer(key::MESSAGE_SIZE))?
    })
}

/// The full URL (BET-23): as given, else put together, and then masked as a whole.
fn url<'a>(subject: &Subject<'a>, serves: bool) -> Option<Cow<'a, str>> {
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
        return Some(full);
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
    Some(otel_xray_mask::url(&[&*scheme, "://", &host, &port, slash, &path].concat()).into_owned().into())
}
