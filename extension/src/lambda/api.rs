//! Calls of the Extensions API, on one connection that is kept. None has a time limit: an event may be hours away, and
//! the process frozen meanwhile (L-5.3).

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const MAX_ANSWER_BYTES: usize = 1024 * 1024;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_MESSAGE: usize = 200;
const ID_HEADER: &str = "Lambda-Extension-Identifier";

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the connection to {address} failed: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error("the answer could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("Lambda answered {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Refused { status: StatusCode, message: String },
    #[error("Lambda's answer has no {ID_HEADER}")]
    NoId,
}

impl ApiError {
    /// Managed Instances have no INVOKE events (L-8.26).
    pub(super) fn refuses_an_event(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::FORBIDDEN, message } if message.contains("InvalidEventType"))
    }
}

/// What Lambda says to a registration.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) extension_id: String,
    pub(super) body: Value,
}

/// The platform's side, at `AWS_LAMBDA_RUNTIME_API`.
#[derive(Debug)]
pub(super) struct Api {
    address: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    pub(super) fn new(address: String) -> Self {
        Self { address, connection: None }
    }

    /// Registers under the name of the executable: any other is taken for an internal extension's (L-5.2).
    pub(super) async fn register(&mut self, name: &str, events: &[&str]) -> Result<Registration, ApiError> {
        let request = Request::post("/2020-01-01/extension/register")
            .header("Host", &self.address)
            .header("Lambda-Extension-Name", name)
            .header("Lambda-Extension-Accept-Feature", "accountId")
            .header("Content-Type", "application/json")
            .body(json!({"events": events}).to_string().into())?;
        let answer = self.call(request).await?;
        let extension_id = answer.headers().get(ID_HEADER).and_then(|id| id.to_str().ok());
        let extension_id = extension_id.ok_or(ApiError::NoId)?.to_owned();
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        Ok(Registration { extension_id, body })
    }

    /// Asks for the platform's records (section 6.1).
    pub(super) async fn subscribe(
        &mut self,
        extension_id: &str,
        body: &Value,
    ) -> Result<StatusCode, ApiError> {
        let request = Request::put("/2022-07-01/telemetry")
            .header("Host", &self.address)
            .header(ID_HEADER, extension_id)
            .header("Content-Type", "application/json")
            .body(body.to_string().into())?;
        Ok(self.call(request).await?.status())
    }

    /// Says that the last event is dealt with, and waits for another.
    pub(super) async fn next(&mut self, extension_id: &str) -> Result<Bytes, ApiError> {
        let request = Request::get("/2020-01-01/extension/event/next")
            .header("Host", &self.address)
            .header(ID_HEADER, extension_id)
            .body(Full::default())?;
        Ok(self.call(request).await?.into_body())
    }

    async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<http::Response<Bytes>, ApiError> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        if connection.ready().await.is_err() {
            connection = self.connect().await?;
        }
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(ApiError::Body)?.to_bytes();
        self.connection = Some(connection);
        if head.status.is_success() {
            return Ok(http::Response::from_parts(head, body));
        }
        Err(ApiError::Refused { status: head.status, message: message(&body) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let address = &self.address;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| ApiError::Connect { address: address.clone(), source })?;
        let mut http = http1::Builder::new();
        let (sender, connection) = http.max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The two fields of Lambda's errors. A body that has none is not for the log.
fn message(body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let fields = ["errorType", "errorMessage"].map(|field| answer[field].as_str().unwrap_or_default());
    let message = fields.join(" ");
    message.trim().chars().take(MAX_MESSAGE).collect()
}
