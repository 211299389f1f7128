//! The X-Ray client, built once and off the start-up path (B-4).

use super::connector::Connections;
use super::credentials::Provider;
use crate::log::{Level, Log};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_xray::Client;
use aws_sdk_xray::config::IdentityCache;
use std::fmt;
use std::path::PathBuf;
use tokio::sync::OnceCell;

type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A client, and the connections under it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) connections: Connections,
    pub(super) credentials: SharedCredentialsProvider,
}

/// Builds the client when it is first asked for.
pub struct Clients {
    lookup: Lookup,
    log: Option<Log>,
    /// `None` where there is no TLS to be had.
    session: OnceCell<Option<Session>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("built", &self.session.initialized()).finish_non_exhaustive()
    }
}

impl Clients {
    /// `lookup` reads the environment.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup), log: None, session: OnceCell::new() }
    }

    /// Complaints about the environment go to `log`.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Builds the client now, so that the first flush need not.
    pub async fn prepare(&self) {
        self.get().await;
    }

    /// The client. Endpoint, FIPS and dual-stack come from the variables the SDK itself knows, such as
    /// `AWS_ENDPOINT_URL_XRAY`.
    pub(super) async fn get(&self) -> Option<Session> {
        self.session.get_or_init(|| async { self.build() }).await.clone()
    }

    /// A variable of the environment that is not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn build(&self) -> Option<Session> {
        let bundle =
            self.variable("AWS_CA_BUNDLE").or_else(|| self.variable("SSL_CERT_FILE")).map(PathBuf::from);
        let say = |message: &dyn fmt::Display| {
            if let Some(log) = &self.log {
                log.say(Level::Error, message);
            }
        };
        let connections = Connections::new(bundle.as_deref()).or_else(|error| {
            say(&format_args!("{error}; using the built-in certificates"));
            Connections::new(None)
        });
        let connections = connections.map_err(|error| say(&error)).ok()?;
        let provider = Provider::new(|name| self.variable(name), connections.clone());
        let credentials = SharedCredentialsProvider::new(provider);
        let mut config = aws_sdk_xray::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .http_client(connections.for_sdk())
            .credentials_provider(credentials.clone())
            .identity_cache(IdentityCache::lazy().buffer_time(super::credentials::REFRESH_BEFORE).build())
            .use_fips(is_true(self.variable("AWS_USE_FIPS_ENDPOINT")))
            .use_dual_stack(is_true(self.variable("AWS_USE_DUALSTACK_ENDPOINT")));
        config.set_endpoint_url(
            self.variable("AWS_ENDPOINT_URL_XRAY").or_else(|| self.variable("AWS_ENDPOINT_URL")),
        );
        config.set_region(self.region().map(Region::new));
        Some(Session { client: Client::from_conf(config.build()), connections, credentials })
    }

    pub(super) fn region(&self) -> Option<String> {
        self.variable("AWS_REGION").or_else(|| self.variable("AWS_DEFAULT_REGION"))
    }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
