//! SigV4 for the requests that no AWS SDK makes.

use super::credentials::Provider;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign as signature,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_types::body::SdkBody;
use http::Request;
use std::error::Error;
use std::time::SystemTime;

/// Signs a POST for X-Ray (DMN-8, OEP-1), with the time of now: it may be long after the request was made (BET-35).
pub(crate) async fn sign(
    request: &mut Request<SdkBody>,
    body: &[u8],
    region: &str,
    credentials: &Provider,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let identity: Identity = credentials.provide_credentials().await?.into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("xray")
        .time(SystemTime::now())
        .settings(settings)
        .build()?
        .into();
    let headers =
        request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let uri = request.uri().to_string();
    let signable = SignableRequest::new("POST", uri, headers, SignableBody::Bytes(body))?;
    let (instructions, _) = signature(signable, &parameters)?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}
