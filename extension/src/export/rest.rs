//! X-Ray's API as it is on the wire, for operations whose code the AWS SDK need not bring along.

use super::client::Clients;
use super::sign::sign;
use super::trouble::causes;
use aws_sdk_xray::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use std::error::Error;
use std::time::Duration;

const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Why X-Ray could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("X-Ray's address is not known ({0}): set AWS_REGION or AWS_ENDPOINT_URL_XRAY")]
    Endpoint(String),
    #[error("the request could not be signed ({0}): give the function a role")]
    Credentials(String),
    #[error("X-Ray could not be reached: {0}")]
    Unreachable(String),
    #[error("X-Ray has not answered within {} ms", .0.as_millis())]
    Slow(Duration),
}

impl Clients {
    /// Posts a JSON body to a path of X-Ray's API, signed, and waits for at most `limit`.
    pub async fn post(
        &self,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), RestError> {
        tokio::time::timeout(limit, self.post_now(path, body)).await.unwrap_or(Err(RestError::Slow(limit)))
    }

    async fn post_now(&self, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), RestError> {
        let endpoint = self.endpoint().await.map_err(|error| RestError::Endpoint(shown(&*error)))?;
        let unsigned = Request::post(format!("{}{path}", endpoint.trim_end_matches('/')))
            .header("content-type", "application/json")
            .body(SdkBody::from(body.clone()));
        let mut request = unsigned.map_err(|error| RestError::Endpoint(error.to_string()))?;
        let nothing = || RestError::Unreachable("there is no TLS to be had".to_owned());
        let (connections, credentials) = self.connections().zip(self.credentials()).ok_or_else(nothing)?;
        let region = self.region().unwrap_or_default();
        let signed = sign(&mut request, &body, &region, &credentials).await;
        signed.map_err(|error| RestError::Credentials(shown(&*error)))?;
        let unreachable = |error: &(dyn Error + 'static)| RestError::Unreachable(shown(error));
        let answer = connections.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        Ok((head.status, body.map_err(|error| unreachable(&*error))?.to_bytes()))
    }

    /// Where X-Ray is, by the rules and variables that the SDK goes by.
    async fn endpoint(&self) -> Result<String, Box<dyn Error + Send + Sync>> {
        let params = Params::builder()
            .set_region(self.region())
            .use_fips(self.is_true("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(self.is_true("AWS_USE_DUALSTACK_ENDPOINT"))
            .set_endpoint(self.endpoint_url())
            .build()?;
        Ok(DefaultResolver::new().resolve_endpoint(&params).await?.url().to_owned())
    }
}

fn shown(error: &(dyn Error + 'static)) -> String {
    let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
    causes.join(": ")
}
