//! HTTP for everything that goes out, the AWS SDK included: hyper with rustls on ring, and the roots compiled in.
//!
//! The SDK's own client brings certificate discovery on disk, which costs milliseconds at the first request (B-7),
//! and pools this extension has no use for.

use super::names::Names;
use super::own::{OwnAddresses, Transport};
use super::trust::{TlsError, client_config};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::{StatusCode, Uri};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::net::TcpStream;

const MAX_IDLE: usize = 4;
/// What the SDK is for answers with an entry for each of 50 refused documents at most.
const MAX_SDK_ANSWER_BYTES: usize = 256 * 1024;
/// The head of an answer, and what is read of a body at a time.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// One pool of connections, shared by everything that goes out over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    https: HttpsConnector<Outward>,
    client: Mutex<Client<HttpsConnector<Outward>, SdkBody>>,
}

impl Connections {
    /// `ca_bundle` replaces the built-in roots. To the `own` addresses nothing is connected.
    pub(crate) fn new(ca_bundle: Option<&Path>, own: OwnAddresses) -> Result<Self, TlsError> {
        let mut tcp = TcpConnector::new_with_resolver(Names::of_the_system());
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(client_config(ca_bundle)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Outward { tcp, own });
        let client = Mutex::new(pool(https.clone()));
        Ok(Self(Arc::new(Inner { https, client })))
    }

    /// Forgets every idle connection: those of before a freeze are likely dead (BET-34).
    pub(crate) fn renew(&self) {
        *self.lock() = pool(self.0.https.clone());
    }

    /// Sends one request and waits for the head of its answer.
    pub(crate) async fn request(
        &self,
        request: http::Request<SdkBody>,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        let client = self.lock().clone();
        client.request(request).await
    }

    /// The same pool for the SDK.
    pub(crate) fn for_sdk(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Client<HttpsConnector<Outward>, SdkBody>> {
        self.0.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pool(https: HttpsConnector<Outward>) -> Client<HttpsConnector<Outward>, SdkBody> {
    Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(MAX_IDLE)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .build(https)
}

/// A success that none of X-Ray's operations ends with: somebody else's.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it answered {0}")]
pub(crate) struct OddSuccess(pub(crate) u16);

/// TCP, and never back to this extension: told by where a connection has come to, before anything is written to it.
#[derive(Debug, Clone)]
struct Outward {
    tcp: TcpConnector<Names>,
    own: OwnAddresses,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl tower_service::Service<Uri> for Outward {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, own) = (self.tcp.call(uri), self.own.clone());
        Box::pin(async move {
            let stream = connecting.await?;
            let (peer, local) = (stream.inner().peer_addr()?, stream.inner().local_addr()?);
            own.check(Transport::Tcp, peer, local)?;
            Ok(stream)
        })
    }
}

impl HttpClient for Connections {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connections {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connections = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response =
                connections.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            if response.status().is_success() && response.status() != StatusCode::OK {
                return Err(ConnectorError::other(OddSuccess(response.status().as_u16()).into(), None));
            }
            let bounded =
                response.map(|body| SdkBody::from_body_1_x(Limited::new(body, MAX_SDK_ANSWER_BYTES)));
            HttpResponse::try_from(bounded).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_7_a_bad_bundle_is_an_error_that_says_what_to_do() {
        let missing = Connections::new(Some(Path::new("/nowhere/ca.pem")), OwnAddresses::default())
            .unwrap_err()
            .to_string();
        assert!(missing.contains("/nowhere/ca.pem") && missing.contains("AWS_CA_BUNDLE"), "{missing}");
        let empty =
            Connections::new(Some(Path::new("/dev/null")), OwnAddresses::default()).unwrap_err().to_string();
        assert!(empty.contains("holds no certificate"), "{empty}");
        assert!(Connections::new(None, OwnAddresses::default()).is_ok());
    }
}
