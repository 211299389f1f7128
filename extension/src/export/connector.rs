//! HTTP for the AWS SDK: hyper with rustls on ring, and the roots compiled in.
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
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the TLS settings of the environment could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(
        "the CA bundle {path} could not be read ({cause}): correct AWS_CA_BUNDLE or SSL_CERT_FILE, or unset it"
    )]
    Bundle { path: String, cause: rustls_pki_types::pem::Error },
    #[error("the CA bundle {path} holds no certificate: correct AWS_CA_BUNDLE or SSL_CERT_FILE, or unset it")]
    Empty { path: String },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

#[derive(Debug, Clone)]
struct Connector(Client<HttpsConnector<TcpConnector>, SdkBody>);

/// A client for the SDK. `ca_bundle` replaces the built-in roots.
pub(super) fn http_client(ca_bundle: Option<PathBuf>) -> Result<SharedHttpClient, TlsError> {
    let roots = match ca_bundle {
        Some(path) => roots_of(&path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4).build(https);
    Ok(SharedHttpClient::new(Connector(client)))
}

fn roots_of(path: &std::path::Path) -> Result<RootCertStore, TlsError> {
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

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
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
        let missing = http_client(Some("/nowhere/ca.pem".into())).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/ca.pem") && missing.contains("AWS_CA_BUNDLE"), "{missing}");
        let empty = http_client(Some("/dev/null".into())).unwrap_err().to_string();
        assert!(empty.contains("holds no certificate"), "{empty}");
        assert!(http_client(None).is_ok());
    }
}
