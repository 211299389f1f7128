//! The X-Ray client, built once and off the start-up path (B-4), and what lies below it: connections, names, certificates, credentials,
//! signatures. All outlets share it.

mod certificate;
pub(crate) mod connector;
pub(crate) mod credentials;
mod names;
pub(crate) mod own;
pub(crate) mod rest;
pub(crate) mod sign;
mod trust;

use crate::log::{Level, Log};
use crate::settings::OutletKind;
use crate::shown;
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_xray::Client;
use aws_sdk_xray::config::IdentityCache;
use aws_sdk_xray::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use connector::Connections;
use credentials::Provider;
use http::Uri;
use own::OwnAddresses;
use std::fmt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

/// The service's own before the general one.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_XRAY", "AWS_ENDPOINT_URL"];

type Lookup = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A client, and the connections under it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) connections: Connections,
    pub(crate) credentials: Arc<Provider>,
    /// Where X-Ray is, as the log shows it, or why that is not known.
    pub(crate) endpoint: Result<String, String>,
}

impl Session {
    /// Where X-Ray is, as the log shows it.
    pub(crate) fn at(&self) -> &str {
        self.endpoint.as_deref().unwrap_or("X-Ray")
    }
}

/// Builds the client when it is first asked for.
pub struct Clients {
    lookup: Lookup,
    log: Option<Log>,
    own: OwnAddresses,
    connections: OnceLock<Option<Connections>>,
    provider: OnceLock<Option<Arc<Provider>>>,
    session: OnceLock<Option<Session>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("built", &self.session.get().is_some()).finish_non_exhaustive()
    }
}

impl Clients {
    /// `lookup` reads the environment.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            log: None,
            own: OwnAddresses::default(),
            connections: OnceLock::new(),
            provider: OnceLock::new(),
            session: OnceLock::new(),
        }
    }

    /// Complaints about the environment go to `log`.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Where this extension itself listens, as far as it does by now: its receivers add to it.
    pub fn own(&self) -> &OwnAddresses {
        &self.own
    }

    /// Builds now what these outlets use, so that the first flush need not.
    pub fn prepare(&self, outlets: &[OutletKind]) {
        for outlet in outlets {
            match outlet {
                OutletKind::Xray => drop(self.session()),
                OutletKind::Otlp => drop(self.connections()),
                OutletKind::Daemon => {}
            }
        }
    }

    /// The client, or `None` where there is no TLS to be had. Endpoint, FIPS and dual-stack come from the variables
    /// the SDK itself knows, such as `AWS_ENDPOINT_URL_XRAY`.
    pub(crate) fn session(&self) -> Option<Session> {
        self.session.get_or_init(|| self.build()).clone()
    }

    /// The connections that everything shares that goes to AWS.
    pub(crate) fn connections(&self) -> Option<Connections> {
        let build = || {
            let bundle =
                self.variable("AWS_CA_BUNDLE").or_else(|| self.variable("SSL_CERT_FILE")).map(PathBuf::from);
            let say = |message: &dyn fmt::Display| {
                if let Some(log) = &self.log {
                    log.say(Level::Error, message);
                }
            };
            let connections = Connections::new(bundle.as_deref(), self.own.clone()).or_else(|error| {
                say(&format_args!("{error}; using the built-in certificates"));
                Connections::new(None, self.own.clone())
            });
            connections.map_err(|error| say(&error)).ok()
        };
        self.connections.get_or_init(build).clone()
    }

    /// Trusts neither connections nor credentials any more: the environment may be another than the one they were for
    /// (L-8.23).
    pub fn renew(&self) {
        if let Some(Some(connections)) = self.connections.get() {
            connections.renew();
        }
        if let Some(Some(provider)) = self.provider.get() {
            provider.forget();
        }
    }

    /// The function's credentials.
    pub(crate) fn credentials(&self) -> Option<Arc<Provider>> {
        let build = || Some(Arc::new(Provider::new(|name| self.variable(name), self.connections()?)));
        self.provider.get_or_init(build).clone()
    }

    /// A variable of the environment that is not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn build(&self) -> Option<Session> {
        let (connections, credentials) = (self.connections()?, self.credentials()?);
        let provider: Arc<dyn ProvideCredentials> = Arc::clone(&credentials) as _;
        let mut config = aws_sdk_xray::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .retry_config(RetryConfig::disabled())
            .http_client(connections.for_sdk())
            .credentials_provider(SharedCredentialsProvider::new(provider))
            // The provider remembers by itself, and refreshes earlier.
            .identity_cache(IdentityCache::no_cache())
            .use_fips(self.is_true("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(self.is_true("AWS_USE_DUALSTACK_ENDPOINT"));
        config.set_endpoint_url(self.endpoint_url());
        config.set_region(self.region().map(Region::new));
        let endpoint = self.endpoint().map(|url| shown::line(&url));
        Some(Session { client: Client::from_conf(config.build()), connections, credentials, endpoint })
    }

    fn endpoint_url(&self) -> Option<String> {
        ENDPOINTS.iter().find_map(|name| self.variable(name))
    }

    /// Where X-Ray is, by the rules and variables that the SDK goes by, or what to do. Says no value: it may have a
    /// password in it.
    pub(crate) fn endpoint(&self) -> Result<String, String> {
        if let Some((name, url)) = ENDPOINTS.iter().find_map(|name| Some((name, self.variable(name)?))) {
            return if is_url(&url) {
                Ok(url)
            } else {
                Err(format!(
                    "{name} is not a URL, so spans are kept: set it to one that begins with https:// or http://, or \
                     unset it"
                ))
            };
        }
        let region = || "X-Ray's address is not known, so spans are kept: set AWS_REGION".to_owned();
        let params = Params::builder()
            .set_region(self.region())
            .use_fips(self.is_true("AWS_USE_FIPS_ENDPOINT"))
            .use_dual_stack(self.is_true("AWS_USE_DUALSTACK_ENDPOINT"))
            .build()
            .map_err(|_| region())?;
        let rules = DefaultResolver::new();
        let mut resolved = pin!(rules.resolve_endpoint(&params));
        // The rules are compiled in: there is nothing to wait for.
        match resolved.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(endpoint)) => Ok(endpoint.url().to_owned()),
            Poll::Ready(Err(_)) | Poll::Pending => Err(region()),
        }
    }

    pub(crate) fn region(&self) -> Option<String> {
        self.variable("AWS_REGION").or_else(|| self.variable("AWS_DEFAULT_REGION"))
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

fn is_url(text: &str) -> bool {
    let parsed: Option<Uri> = text.parse().ok();
    parsed.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Where a request would go.
    async fn host(variables: &'static [(&'static str, &'static str)], region: &'static str) -> String {
        let lookup = move |name: &str| match name {
            "AWS_REGION" => Some(region.to_owned()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("x".to_owned()),
            _ => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()),
        };
        let session = Clients::new(lookup).session().unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let see = Arc::clone(&seen);
        let request = session.client.put_trace_segments().trace_segment_documents("{}").customize();
        let request = request.mutate_request(move |request| {
            request.uri().clone_into(&mut see.lock().unwrap());
            request.set_uri("http://127.0.0.1:1/").unwrap();
        });
        request.send().await.unwrap_err();
        let uri = seen.lock().unwrap().clone();
        uri.strip_suffix("/TraceSegments").unwrap_or(&uri).to_owned()
    }

    #[tokio::test]
    async fn pts_1_endpoints_of_every_partition() {
        const FIPS: (&str, &str) = ("AWS_USE_FIPS_ENDPOINT", "true");
        const DUAL: (&str, &str) = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
        for (region, plain, fips, dual, both) in [
            (
                "eu-west-1",
                "https://xray.eu-west-1.amazonaws.com",
                "https://xray-fips.eu-west-1.amazonaws.com",
                "https://xray.eu-west-1.api.aws",
                "https://xray-fips.eu-west-1.api.aws",
            ),
            (
                "us-east-1",
                "https://xray.us-east-1.amazonaws.com",
                "https://xray-fips.us-east-1.amazonaws.com",
                "https://xray.us-east-1.api.aws",
                "https://xray-fips.us-east-1.api.aws",
            ),
            (
                "cn-north-1",
                "https://xray.cn-north-1.amazonaws.com.cn",
                "https://xray-fips.cn-north-1.amazonaws.com.cn",
                "https://xray.cn-north-1.api.amazonwebservices.com.cn",
                "https://xray-fips.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "us-gov-west-1",
                "https://xray.us-gov-west-1.amazonaws.com",
                "https://xray-fips.us-gov-west-1.amazonaws.com",
                "https://xray.us-gov-west-1.api.aws",
                "https://xray-fips.us-gov-west-1.api.aws",
            ),
        ] {
            assert_eq!(host(&[], region).await, plain);
            assert_eq!(host(&[FIPS], region).await, fips);
            assert_eq!(host(&[DUAL], region).await, dual);
            assert_eq!(host(&[FIPS, DUAL], region).await, both);
        }
        for (region, expected) in [
            ("us-iso-east-1", "https://xray.us-iso-east-1.c2s.ic.gov"),
            ("us-isob-east-1", "https://xray.us-isob-east-1.sc2s.sgov.gov"),
            ("eu-isoe-west-1", "https://xray.eu-isoe-west-1.cloud.adc-e.uk"),
            ("us-isof-south-1", "https://xray.us-isof-south-1.csp.hci.ic.gov"),
            ("eusc-de-east-1", "https://xray.eusc-de-east-1.amazonaws.eu"),
        ] {
            assert_eq!(host(&[], region).await, expected);
        }
    }

    #[tokio::test]
    async fn an_endpoint_by_variable_wins_and_the_service_s_own_before_the_general_one() {
        const ALL: (&str, &str) = ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");
        const XRAY: (&str, &str) = ("AWS_ENDPOINT_URL_XRAY", "https://vpce-1.xray.example");
        assert_eq!(host(&[ALL], "eu-west-1").await, ALL.1);
        assert_eq!(host(&[ALL, XRAY], "eu-west-1").await, XRAY.1);
    }
}
