//! X-Ray's API as it is on the wire, for operations whose code the AWS SDK need not bring along.

use super::Clients;
use super::sign::sign;
use crate::export::answers::trouble::told;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use std::error::Error;
use std::time::Duration;

/// A page of sampling rules: 600 of the longest, where an account has 25 unless its quota was raised.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why X-Ray could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    #[error("{0}")]
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
        let endpoint = self.endpoint().map_err(RestError::Endpoint)?;
        let unsigned = Request::post(format!("{}{path}", endpoint.trim_end_matches('/')))
            .header("content-type", "application/json")
            .body(SdkBody::from(body.clone()));
        let mut request = unsigned.map_err(|error| RestError::Endpoint(told(&error)))?;
        let nothing = || RestError::Unreachable("there is no TLS to be had".to_owned());
        let (connections, credentials) = self.connections().zip(self.credentials()).ok_or_else(nothing)?;
        let region = self.region().unwrap_or_default();
        let signed = sign(&mut request, &body, &region, &credentials).await;
        signed.map_err(|error| RestError::Credentials(told(&*error)))?;
        let unreachable = |error: &(dyn Error + 'static)| RestError::Unreachable(told(error));
        let answer = connections.request(request).await.map_err(|error| unreachable(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        Ok((head.status, body.map_err(|error| unreachable(&*error))?.to_bytes()))
    }
}
