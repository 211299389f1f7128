//! A call of one of the local APIs, and its reply.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

const EXTENSION_NAME: &str = "lambda-extension-name";
/// What an extension is known by once it has registered.
pub(super) const EXTENSION_IDENTIFIER: &str = "lambda-extension-identifier";

/// An answer on its way out; the error type goes to the event log.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response<Full<Bytes>>,
    pub(super) error_type: Option<&'static str>,
}

impl Reply {
    pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { response, error_type: None }
    }

    /// `{"errorMessage":…,"errorType":…}` (L-4.2).
    pub(super) fn error(status: StatusCode, error_type: &'static str, message: &str) -> Self {
        let body = json!({"errorMessage": message, "errorType": error_type}).to_string();
        Self { error_type: Some(error_type), ..Self::json(status, body) }
    }

    pub(super) fn accepted() -> Self {
        Self::json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#)
    }

    /// Adds a header; a value that no header can carry is left out.
    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
        self
    }
}

/// A request whose body has been read.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// Cut off one byte past the response limit.
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn extension_name(&self) -> Option<&str> {
        self.header(EXTENSION_NAME)
    }

    pub(super) fn extension_identifier(&self) -> Option<&str> {
        self.header(EXTENSION_IDENTIFIER)
    }
}

/// For what the API does not have.
pub(super) fn not_found(call: &Call) -> Reply {
    let message = format!("{} {} is not part of the API", call.method, call.path);
    Reply::error(StatusCode::NOT_FOUND, "NotFound", &message)
}
