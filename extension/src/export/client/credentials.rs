//! The function's credentials: from the environment, or from the endpoint that `SnapStart` functions have (BET-35).
//!
//! The SDK's own provider for such endpoints refuses hosts that are not on its list. Lambda's is the host of the
//! runtime API, which need not be a loopback address.

use super::connector::Connections;
use crate::shown;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::date_time::Format;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Credentials are asked for again when they have this much left.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);
/// How often others are asked for in vain while the last ones are good.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const RELATIVE_URI: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// Where containers of ECS and EKS find their credentials.
const CONTAINER_HOSTS: &[&str] = &["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// The one source of credentials.
#[derive(Debug)]
pub(crate) struct Provider {
    environment: Option<Credentials>,
    endpoint: Option<Result<Endpoint, String>>,
    connections: Connections,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Credentials>,
    /// They are to be replaced, however long they last.
    is_stale: bool,
    /// When others were last asked for in vain.
    failed_at: Option<SystemTime>,
}

#[derive(Debug)]
struct Endpoint {
    uri: Uri,
    token: Token,
}

enum Token {
    None,
    Text(String),
    /// Read each time: its writer replaces it.
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Text(_) => "given",
            Self::File(_) => "in a file",
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Provider {
    /// `variable` reads the environment.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>, connections: Connections) -> Self {
        let environment =
            variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY")).map(|(id, secret)| {
                Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment")
            });
        Self { environment, endpoint: endpoint(variable), connections, state: Mutex::default() }
    }

    /// Asks again when credentials are next needed. The last ones are used where there are no others.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        (state.is_stale, state.failed_at) = (true, None);
    }

    /// The last credentials were refused. Whether others can be asked for.
    pub(crate) fn renew(&self) -> bool {
        *self.state() = State::default();
        self.environment.is_none() && matches!(self.endpoint, Some(Ok(_)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credentials(&self) -> provider::Result {
        if let Some(environment) = &self.environment {
            return Ok(environment.clone());
        }
        let endpoint = match &self.endpoint {
            None => {
                return Err(CredentialsError::not_loaded(
                    "neither AWS_ACCESS_KEY_ID nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
                ));
            }
            Some(Err(message)) => return Err(CredentialsError::invalid_configuration(message.clone())),
            Some(Ok(endpoint)) => endpoint,
        };
        if let Some(last) = self.state().good_enough(SystemTime::now()) {
            return Ok(last);
        }
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(endpoint)).await;
        let fresh = asked.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(ANSWER_TIMEOUT)));
        self.state().take_in(fresh, SystemTime::now())
    }

    async fn ask(&self, endpoint: &Endpoint) -> provider::Result {
        let token = match &endpoint.token {
            Token::None => None,
            Token::Text(token) => Some(token.clone()),
            Token::File(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                CredentialsError::invalid_configuration(format!("{}: {error}", path.display()))
            })?),
        };
        let mut request = Request::get(&endpoint.uri).header("accept", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token.trim_end());
        }
        let request = request.body(SdkBody::empty()).map_err(CredentialsError::invalid_configuration)?;
        let answer = self.connections.request(request).await.map_err(CredentialsError::provider_error)?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(CredentialsError::provider_error(format!(
                "{} answered {status}",
                shown::uri(&endpoint.uri)
            )));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(CredentialsError::provider_error)?.to_bytes();
        // The error is not passed on: it could quote the answer.
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| {
            CredentialsError::unhandled(format!(
                "{} answered something that is not credentials",
                shown::uri(&endpoint.uri)
            ))
        })?;
        let expiry = answer
            .expiration
            .and_then(|time| DateTime::from_str(&time, Format::DateTimeWithOffset).ok())
            .and_then(|time| SystemTime::try_from(time).ok());
        Ok(Credentials::new(answer.access_key_id, answer.secret_access_key, answer.token, expiry, "endpoint"))
    }
}

impl State {
    /// The last ones, while they need not be replaced, or cannot be at the moment.
    fn good_enough(&self, now: SystemTime) -> Option<Credentials> {
        let last = self.last.as_ref()?;
        let is_lasting = last.expiry()? > now + REFRESH_BEFORE && !self.is_stale;
        let has_just_failed = self
            .failed_at
            .is_some_and(|failed| now.duration_since(failed).is_ok_and(|since| since < PAUSE_AFTER_FAILURE));
        (is_lasting || (has_just_failed && last.expiry()? > now)).then(|| last.clone())
    }

    /// New ones, or the last ones to their end where there are none.
    fn take_in(&mut self, fresh: provider::Result, now: SystemTime) -> provider::Result {
        match fresh {
            Ok(fresh) => {
                *self = Self { last: Some(fresh.clone()), ..Self::default() };
                Ok(fresh)
            }
            Err(error) => {
                self.failed_at = Some(now);
                let last = self.last.as_ref().filter(|last| last.expiry().is_some_and(|expiry| expiry > now));
                last.cloned().ok_or(error)
            }
        }
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

/// The endpoint that the environment names, or what is wrong with it.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<Result<Endpoint, String>> {
    let (named_by, uri) = match variable(RELATIVE_URI) {
        Some(path) => (RELATIVE_URI, format!("http://{}{path}", CONTAINER_HOSTS[0])),
        None => (FULL_URI, variable(FULL_URI)?),
    };
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => Token::File(path.into()),
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map_or(Token::None, Token::Text),
    };
    let runtime_api = variable("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
    // The value is not said: a URI that makes no sense may have anything in it.
    let Ok(parsed) = uri.parse::<Uri>() else {
        return Some(Err(format!("{named_by} is not a URI: correct it, or unset it")));
    };
    Some(if may_be_asked(&parsed, &runtime_api) {
        Ok(Endpoint { uri: parsed, token })
    } else {
        Err(format!(
            "credentials are not asked for at {}: {named_by} has to be https, or a host of this machine or of the \
             platform",
            shown::uri(&parsed)
        ))
    })
}

/// Whether a token may be sent there: over TLS, to this machine, or to the platform's own addresses.
fn may_be_asked(uri: &Uri, runtime_api: &str) -> bool {
    let Some(host) = uri.host().map(|host| host.trim_start_matches('[').trim_end_matches(']')) else {
        return false;
    };
    let platform = runtime_api.rsplit_once(':').map_or(runtime_api, |(host, _)| host);
    uri.scheme_str() == Some("https")
        || host == "localhost"
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
        || CONTAINER_HOSTS.contains(&host)
        || (!platform.is_empty() && host == platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bet_35_a_token_is_sent_only_where_it_belongs() {
        for (uri, runtime_api, expected) in [
            ("http://127.0.0.1:9001/2021-04-23/credentials", "127.0.0.1:9001", true),
            ("http://169.254.100.1:9001/2021-04-23/credentials", "169.254.100.1:9001", true),
            ("http://169.254.100.1:9001/2021-04-23/credentials", "127.0.0.1:9001", false),
            ("http://169.254.170.2/v1", "", true),
            ("http://[fd00:ec2::23]/v1", "", true),
            ("http://[::1]:80/v1", "", true),
            ("http://localhost/v1", "", true),
            ("http://example.com/v1", "127.0.0.1:9001", false),
            ("https://example.com/v1", "", true),
            ("http:///v1", "", false),
        ] {
            let found = uri.parse().is_ok_and(|uri| may_be_asked(&uri, runtime_api));
            assert_eq!(found, expected, "{uri} {runtime_api}");
        }
    }

    #[test]
    fn bet_35_the_last_credentials_are_used_to_their_end_where_there_are_no_others() {
        let begin = SystemTime::UNIX_EPOCH;
        let at = |minutes: u64| begin + Duration::from_mins(minutes);
        let of = |key: &str, expiry| Credentials::new(key, "s", None, Some(expiry), "endpoint");
        let key = |credentials: Option<Credentials>| credentials.map(|c| c.access_key_id().to_owned());
        let failed = || Err(CredentialsError::provider_error("down"));
        let mut state = State::default();
        assert!(state.take_in(failed(), at(0)).is_err());
        assert_eq!(key(state.good_enough(at(0))), None, "asked again at once where there are none");
        state.take_in(Ok(of("first", at(60))), at(0)).unwrap();
        assert_eq!(key(state.good_enough(at(54))), Some("first".to_owned()));
        assert_eq!(key(state.good_enough(at(56))), None, "others are asked for before their end");
        assert_eq!(key(state.take_in(failed(), at(56)).ok()), Some("first".to_owned()));
        let soon = at(56) + Duration::from_secs(9);
        assert_eq!(key(state.good_enough(soon)), Some("first".to_owned()), "and not at every flush");
        assert_eq!(key(state.good_enough(at(57))), None);
        assert_eq!(key(state.take_in(failed(), at(59)).ok()), Some("first".to_owned()));
        assert!(state.take_in(failed(), at(60)).is_err(), "not past their end");
        state.take_in(Ok(of("second", at(120))), at(61)).unwrap();
        state.is_stale = true;
        assert_eq!(key(state.good_enough(at(62))), None, "after a restore others are asked for");
        assert_eq!(key(state.take_in(failed(), at(62)).ok()), Some("second".to_owned()));
    }

    #[tokio::test]
    async fn bet_35_the_environment_comes_first_and_nothing_is_an_error_that_says_so() {
        let of = |pairs: &'static [(&str, &str)]| {
            let variable = move |name: &str| {
                pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
            };
            Provider::new(
                variable,
                Connections::new(None, crate::export::client::own::OwnAddresses::default()).unwrap(),
            )
        };
        let both = of(&[
            ("AWS_ACCESS_KEY_ID", "AKID"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "session"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/"),
        ]);
        let credentials = both.credentials().await.unwrap();
        assert_eq!((credentials.access_key_id(), credentials.session_token()), ("AKID", Some("session")));
        let none = of(&[("AWS_ACCESS_KEY_ID", "AKID")]).credentials().await.unwrap_err();
        assert!(matches!(none, CredentialsError::CredentialsNotLoaded(_)), "{none:?}");
        let foreign = of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/")]);
        let refused = foreign.credentials().await.unwrap_err();
        assert!(matches!(refused, CredentialsError::InvalidConfiguration(_)), "{refused:?}");
    }
}
