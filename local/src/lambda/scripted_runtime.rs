//! A runtime inside this process: a script that talks to the Runtime API over real HTTP (SIM-3).

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Script = Arc<dyn Fn(RuntimeClient) -> Pin<Box<dyn Future<Output = i32> + Send>> + Send + Sync>;

/// What the script of a runtime does, from its start to its exit status. It is started again after a reset.
#[derive(Clone)]
pub struct ScriptedRuntime {
    script: Script,
}

impl ScriptedRuntime {
    pub fn new<F, R>(script: F) -> Self
    where
        F: Fn(RuntimeClient) -> R + Send + Sync + 'static,
        R: Future<Output = i32> + Send + 'static,
    {
        Self { script: Arc::new(move |client| Box::pin(script(client))) }
    }

    /// A runtime whose handler maps an event to a response, for ever.
    pub fn handler<F>(handler: F) -> Self
    where
        F: Fn(&RuntimeEvent) -> Vec<u8> + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(move |client| {
            let handler = handler.clone();
            async move {
                loop {
                    let Ok(event) = client.next().await else { return 1 };
                    if client.respond(&event.request_id, handler(&event)).await.is_err() {
                        return 1;
                    }
                }
            }
        })
    }

    pub(crate) async fn run(&self, api: SocketAddr) -> i32 {
        (self.script)(RuntimeClient { api }).await
    }
}

impl fmt::Debug for ScriptedRuntime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ScriptedRuntime")
    }
}

/// An invocation as the runtime gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    pub request_id: String,
    /// Epoch milliseconds.
    pub deadline_ms: u64,
    pub function_arn: String,
    pub trace_header: Option<String>,
    pub payload: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum RuntimeClientError {
    #[error("the Runtime API at {api} cannot be reached: {cause}; the environment has ended")]
    Unreachable { api: SocketAddr, cause: String },
    #[error("the Runtime API refused {path}: {status} {body}")]
    Refused { path: String, status: u16, body: String },
}

/// A minimal client of the Runtime API: a new connection for each call.
#[derive(Debug, Clone)]
pub struct RuntimeClient {
    pub api: SocketAddr,
}

impl RuntimeClient {
    /// Waits for the next invocation.
    pub async fn next(&self) -> Result<RuntimeEvent, RuntimeClientError> {
        let path = "/2018-06-01/runtime/invocation/next";
        let (headers, payload) = self.expect(Method::GET, path, &[], Bytes::new(), StatusCode::OK).await?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(RuntimeEvent {
            request_id: text("lambda-runtime-aws-request-id").unwrap_or_default(),
            deadline_ms: text("lambda-runtime-deadline-ms")
                .and_then(|ms| ms.parse().ok())
                .unwrap_or_default(),
            function_arn: text("lambda-runtime-invoked-function-arn").unwrap_or_default(),
            trace_header: text("lambda-runtime-trace-id"),
            payload,
        })
    }

    /// Waits for the restore, under `SnapStart`.
    pub async fn restore_next(&self) -> Result<(), RuntimeClientError> {
        let path = "/2018-06-01/runtime/restore/next";
        self.expect(Method::GET, path, &[], Bytes::new(), StatusCode::OK).await.map(drop)
    }

    /// Reports that a hook failed after the restore.
    pub async fn fail_restore(&self, error_type: &str, message: &str) -> Result<(), RuntimeClientError> {
        self.report("/2018-06-01/runtime/restore/error", error_type, message, None).await
    }

    pub async fn respond(
        &self,
        request_id: &str,
        payload: impl Into<Bytes>,
    ) -> Result<(), RuntimeClientError> {
        let path = format!("/2018-06-01/runtime/invocation/{request_id}/response");
        self.expect(Method::POST, &path, &[], payload.into(), StatusCode::ACCEPTED).await.map(drop)
    }

    /// Reports that the handler failed. `xray_cause` is JSON.
    pub async fn fail(
        &self,
        request_id: &str,
        error_type: &str,
        message: &str,
        xray_cause: Option<&str>,
    ) -> Result<(), RuntimeClientError> {
        let path = format!("/2018-06-01/runtime/invocation/{request_id}/error");
        self.report(&path, error_type, message, xray_cause).await
    }

    /// Reports that the function could not be loaded.
    pub async fn fail_init(&self, error_type: &str, message: &str) -> Result<(), RuntimeClientError> {
        self.report("/2018-06-01/runtime/init/error", error_type, message, None).await
    }

    async fn report(
        &self,
        path: &str,
        error_type: &str,
        message: &str,
        xray_cause: Option<&str>,
    ) -> Result<(), RuntimeClientError> {
        let body = serde_json::json!({"errorMessage": message, "errorType": error_type, "stackTrace": []});
        let mut headers = vec![("Lambda-Runtime-Function-Error-Type", error_type)];
        headers.extend(xray_cause.map(|cause| ("Lambda-Runtime-Function-XRay-Error-Cause", cause)));
        let body = Bytes::from(body.to_string());
        self.expect(Method::POST, path, &headers, body, StatusCode::ACCEPTED).await.map(drop)
    }

    async fn expect(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        expected: StatusCode,
    ) -> Result<(HeaderMap, Bytes), RuntimeClientError> {
        let (status, headers, body) = self.call(method, path, headers, body).await?;
        if status == expected {
            return Ok((headers, body));
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Err(RuntimeClientError::Refused { path: path.to_owned(), status: status.as_u16(), body })
    }

    /// Any call to the API, whatever its answer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes), RuntimeClientError> {
        let unreachable = |cause: String| RuntimeClientError::Unreachable { api: self.api, cause };
        let stream = TcpStream::connect(self.api).await.map_err(|error| unreachable(error.to_string()))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| unreachable(error.to_string()))?;
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, self.api.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| unreachable(error.to_string()))?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(|error| unreachable(error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        drop(connection);
        Ok((head.status, head.headers, body))
    }
}

/// A runtime that is killed in the middle of a call takes its connection with it.
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
