//! The X-Ray client, built once and off the start-up path (B-4).

use super::connector::http_client;
use crate::log::{Level, Log};
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
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
        self.client.get_or_init(|| async { self.build() }).await.clone()
    }

    fn build(&self) -> Client {
        let variable = |name: &str| (self.lookup)(name).filter(|value| !value.is_empty());
        let bundle = variable("AWS_CA_BUNDLE").or_else(|| variable("SSL_CERT_FILE")).map(PathBuf::from);
        let http = http_client(bundle).or_else(|error| {
            if let Some(log) = &self.log {
                log.say(Level::Error, format_args!("{error}; using the built-in certificates"));
            }
            http_client(None)
        });
        let mut config = aws_sdk_xray::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .use_fips(is_true(variable("AWS_USE_FIPS_ENDPOINT")))
            .use_dual_stack(is_true(variable("AWS_USE_DUALSTACK_ENDPOINT")));
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL_XRAY").or_else(|| variable("AWS_ENDPOINT_URL")));
        config.set_region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new));
        let mut providers = ProviderConfig::empty();
        if let Ok(http) = http {
            config.set_http_client(Some(http.clone()));
            providers = providers.with_http_client(http);
        }
        let container = EcsCredentialsProvider::builder().configure(&providers).build();
        config.set_credentials_provider(Some(SharedCredentialsProvider::new(
            CredentialsProviderChain::first_try("environment", EnvironmentVariableCredentialsProvider::new())
                .or_else("container", container),
        )));
        Client::from_conf(config.build())
    }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
