//! The X-Ray client, built once and off the start-up path (B-4).

use super::connector::http_client;
use crate::log::{Level, Log};
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_xray::Client;
use std::fmt;
use std::path::PathBuf;
use tokio::sync::OnceCell;

type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Builds the client when it is first asked for.
pub struct Clients {
    lookup: Lookup,
    log: Option<Log>,
    client: OnceCell<Client>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("built", &self.client.initialized()).finish_non_exhaustive()
    }
}

impl Clients {
    /// `lookup` reads the environment.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup), log: None, client: OnceCell::new() }
    }

    /// Complaints about the environment go to `log`.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// The client. Endpoint, FIPS and dual-stack come from the variables the SDK itself knows, such as
    /// `AWS_ENDPOINT_URL_XRAY`.
    pub async fn get(&self) -> Client {
        self.client.get_or_init(|| self.build()).await.clone()
    }

    async fn build(&self) -> Client {
        let variable = |name: &str| (self.lookup)(name).filter(|value| !value.is_empty());
        let bundle = variable("AWS_CA_BUNDLE").or_else(|| variable("SSL_CERT_FILE")).map(PathBuf::from);
        let http = http_client(bundle).or_else(|error| {
            if let Some(log) = &self.log {
                log.say(Level::Error, format_args!("{error}; using the built-in certificates"));
            }
            http_client(None)
        });
        let credentials = CredentialsProviderChain::first_try("environment", EnvironmentVariableCredentialsProvider::new())
            .or_else("container", EcsCredentialsProvider::builder().build());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled());
        if let Ok(http) = http {
            loader = loader.http_client(http);
        }
        if let Some(region) = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")) {
            loader = loader.region(Region::new(region));
        }
        Client::new(&loader.load().await)
    }
}
