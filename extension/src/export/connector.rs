//! HTTP for everything that goes out, the AWS SDK included: hyper with rustls on ring, and the roots compiled in.
//!
//! The SDK's own client brings certificate discovery on disk, which costs milliseconds at the first request (B-7),
//! and pools this extension has no use for.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const MAX_IDLE: usize = 4;

/// Why the TLS settings of the environment could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(
        "the CA bundle {path} could not be read ({cause}): correct AWS_CA_BUNDLE, SSL_CERT_FILE or OTEL_EXPORTER_OTLP_CERTIFICATE, or unset it"
    )]
    Bundle { path: String, cause: rustls_pki_types::pem::Error },
    #[error(
        "the CA bundle {path} holds no certificate: correct AWS_CA_BUNDLE, SSL_CERT_FILE or OTEL_EXPORTER_OTLP_CERTIFICATE, or unset it"
    )]
    Empty { path: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// One pool of connections, shared by everything that goes out over HTTP.
#[derive(Debug, Clone)]
pub(super) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    https: HttpsConnector<TcpConnector>,
    client: Mutex<Client<HttpsConnector<TcpConnector>, SdkBody>>,
}

impl Connections {
    /// `ca_bundle` replaces the built-in roots.
    pub(super) fn new(ca_bundle: Option<&Path>) -> Result<Self, TlsError> {
        let roots = match ca_bundle {
            Some(path) => roots_of(path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Mutex::new(pool(https.clone()));
        Ok(Self(Arc::new(Inner { https, client })))
    }

    /// Forgets every idle connection: those of before a freeze are likely dead (BET-34).
    pub(super) fn renew(&self) {
        *self.lock() = pool(self.0.https.clone());
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn request(
        &self,
        request: http::Request<SdkBody>,
    ) -> Result<http::Response<Incoming>, hyper_util::client::legacy::Error> {
        let client = self.lock().clone();
        client.request(request).await
    }

    /// The same pool for the SDK.
    pub(super) fn for_sdk(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Client<HttpsConnector<TcpConnector>, SdkBody>> {
        self.0.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pool(https: HttpsConnector<TcpConnector>) -> Client<HttpsConnector<TcpConnector>, SdkBody> {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(MAX_IDLE).build(https)
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsError> {
    let shown = path.display().to_string();
    let bundle = |cause| TlsError::Bundle { path: shown.clone(), cause };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(bundle)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(bundle)?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(TlsError::Empty { path: shown }) } else { Ok(roots) }
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
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_7_a_bad_bundle_is_an_error_that_says_what_to_do() {
        let missing = Connections::new(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/ca.pem") && missing.contains("AWS_CA_BUNDLE"), "{missing}");
        let empty = Connections::new(Some(Path::new("/dev/null"))).unwrap_err().to_string();
        assert!(empty.contains("holds no certificate"), "{empty}");
        assert!(Connections::new(None).is_ok());
    }
}
