//! Where OTLP goes: the standard `OTEL_EXPORTER_OTLP_*` variables.

use crate::export::client::own::LeadsHere;
use crate::received::OtlpSignal;
use crate::shown;
use http::{HeaderName, HeaderValue, Uri};
use std::path::PathBuf;
use std::time::Duration;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PATH: &str = "/v1/traces";
/// Where the partitions have their endpoints, with and without dual-stack.
const AWS_DOMAINS: &[&str] = &[
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What one OTLP endpoint needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OtlpSettings {
    pub(super) url: Uri,
    /// The variable that the URL is from.
    pub(super) named_by: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What could not be used, by the names of the variables: their values may be secret.
    pub(super) complaints: Vec<String>,
    /// For one request.
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
    pub(super) certificate: Option<PathBuf>,
    /// The region to sign for, where the endpoint is X-Ray's own.
    pub(super) sign_for: Option<String>,
}

/// Why there is no endpoint to send to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misconfigured {
    #[error(
        "OTEL_XRAY_OUTLETS names otlp, and there is no endpoint: set OTEL_EXPORTER_OTLP_{}_ENDPOINT, for example to \
         https://collector.example:4318/v1/{}", .0.name().to_ascii_uppercase(), .0.name()
    )]
    NoEndpoint(OtlpSignal),
    /// By its variable: what is no URL may have anything in it.
    #[error("{0} is not a URL: set it to one that begins with http:// or https://")]
    NotAUrl(String),
    #[error(
        "OTEL_EXPORTER_OTLP_PROTOCOL is another than http/protobuf, which is all that the otlp outlet speaks: set that \
         and its endpoint"
    )]
    Protocol,
    #[error("the OTLP endpoint {} is X-Ray's, and no region to sign for is known: set AWS_REGION", shown::uri(.0))]
    NoRegion(Uri),
}

impl OtlpSettings {
    /// Reads the variables.
    pub(super) fn read(
        signal: OtlpSignal,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Misconfigured> {
        let either = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_{}_{name}", signal.name().to_ascii_uppercase()))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        // The general endpoint is a base, the other is used as it is.
        let own_endpoint = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name().to_ascii_uppercase());
        let (named_by, endpoint) = match (variable(&own_endpoint), variable(ENDPOINT)) {
            (Some(whole), _) => (own_endpoint, whole),
            (None, Some(base)) => {
                let whole = format!("{}/v1/{}", base.trim().trim_end_matches('/'), signal.name());
                (ENDPOINT.to_owned(), whole)
            }
            (None, None) => return Err(Misconfigured::NoEndpoint(signal)),
        };
        let url: Uri = endpoint.trim().parse().map_err(|_| Misconfigured::NotAUrl(named_by.clone()))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(Misconfigured::NotAUrl(named_by));
        }
        if either("PROTOCOL").is_some_and(|protocol| protocol != "http/protobuf") {
            return Err(Misconfigured::Protocol);
        }
        let wants_signature = match variable("OTEL_XRAY_OTLP_SIGN").as_deref() {
            _ if signal != OtlpSignal::Traces => false,
            Some("true") => true,
            Some("false") => false,
            _ => is_xray(&url),
        };
        let sign_for = match wants_signature.then(|| region_of(&url).or_else(|| variable("AWS_REGION"))) {
            Some(None) => return Err(Misconfigured::NoRegion(url)),
            Some(region) => region,
            None => None,
        };
        let mut complaints = Vec::new();
        let (headers, unusable) = either("HEADERS").as_deref().map(headers).unwrap_or_default();
        if unusable > 0 {
            complaints.push(format!(
                "OTEL_EXPORTER_OTLP_HEADERS has {unusable} parts that are no header, which are left out: write it as \
                 name=value,name=value, with the values percent-encoded"
            ));
        }
        let timeout = either("TIMEOUT").map(|value| value.parse().ok().filter(|ms| *ms > 0));
        if timeout == Some(None) {
            complaints
                .push("OTEL_EXPORTER_OTLP_TIMEOUT is no number of milliseconds: using 10000".to_owned());
        }
        Ok(Self {
            headers,
            complaints,
            timeout: timeout.flatten().map_or(DEFAULT_TIMEOUT, Duration::from_millis),
            gzip: either("COMPRESSION").is_some_and(|value| value.eq_ignore_ascii_case("gzip")),
            certificate: either("CERTIFICATE").map(PathBuf::from),
            sign_for,
            url,
            named_by,
        })
    }
}

impl OtlpSettings {
    /// What to do where the endpoint is this extension itself.
    pub(super) fn told_of(&self, circle: LeadsHere) -> String {
        let named_by = &self.named_by;
        format!(
            "{named_by} names no collector, {circle}; set it to another host, or take otlp out of OTEL_XRAY_OUTLETS"
        )
    }
}

/// `https://xray.REGION.amazonaws.com/v1/traces` and its kin of other partitions (OEP-1).
fn is_xray(url: &Uri) -> bool {
    url.path() == PATH && region_of(url).is_some()
}

fn region_of(url: &Uri) -> Option<String> {
    let rest = url.host()?.strip_prefix("xray.").or_else(|| url.host()?.strip_prefix("xray-fips."))?;
    let (region, domain) = rest.split_once('.')?;
    let is_aws = AWS_DOMAINS.contains(&domain);
    is_aws.then(|| region.to_owned())
}

/// `key=value` pairs, separated by commas, the values percent-encoded; and how many parts are no such pairs.
fn headers(text: &str) -> (Vec<(HeaderName, HeaderValue)>, usize) {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name: HeaderName = name.trim().to_ascii_lowercase().parse().ok()?;
        let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let parts: Vec<&str> = text.split(',').filter(|part| !part.trim().is_empty()).collect();
    let headers: Vec<_> = parts.iter().filter_map(|part| pair(part)).collect();
    let unusable = parts.len() - headers.len();
    (headers, unusable)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<OtlpSettings, Misconfigured> {
        OtlpSettings::read(OtlpSignal::Traces, |name| {
            pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        })
    }

    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

    #[test]
    fn the_general_endpoint_is_a_base_and_the_other_is_whole() {
        for (pairs, expected) in [
            (vec![(ENDPOINT, "http://c:4318")], "http://c:4318/v1/traces"),
            (vec![(ENDPOINT, "http://c:4318/otlp/ ")], "http://c:4318/otlp/v1/traces"),
            (vec![(ENDPOINT, "http://c:4318"), (TRACES, "https://d/x")], "https://d/x"),
        ] {
            assert_eq!(read(&pairs).unwrap().url, expected);
        }
    }

    #[test]
    fn everything_else_has_its_variable_and_the_one_for_traces_wins() {
        let settings = read(&[
            (TRACES, "https://c/v1/traces"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x=general"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "Api-Key=a%3Db%2, bad name=1,x-tenant = shop ,nothing"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "/opt/ca.pem"),
        ])
        .unwrap();
        let headers: Vec<_> =
            settings.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
        assert_eq!(headers, [("api-key", "a=b%2"), ("x-tenant", "shop")]);
        assert!(!format!("{settings:?}").contains("a=b"), "headers hold secrets");
        assert_eq!(settings.complaints.len(), 1);
        assert!(settings.complaints[0].starts_with("OTEL_EXPORTER_OTLP_HEADERS has 2 parts"));
        assert_eq!((settings.timeout, settings.gzip), (Duration::from_millis(2500), true));
        assert_eq!(settings.certificate, Some("/opt/ca.pem".into()));
        let plain = read(&[(TRACES, "https://c/v1/traces"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")]).unwrap();
        assert_eq!((plain.timeout, plain.gzip, plain.sign_for), (DEFAULT_TIMEOUT, false, None));
        assert!(plain.complaints[0].starts_with("OTEL_EXPORTER_OTLP_TIMEOUT "));
    }

    #[test]
    fn oep_1_x_rays_own_endpoint_is_signed_for_its_region() {
        for (url, sign, expected) in [
            ("https://xray.eu-west-1.amazonaws.com/v1/traces", "auto", Some("eu-west-1")),
            ("https://xray.cn-north-1.amazonaws.com.cn/v1/traces", "auto", Some("cn-north-1")),
            ("https://xray-fips.us-east-1.api.aws/v1/traces", "auto", Some("us-east-1")),
            ("https://xray.eu-west-1.amazonaws.com/v1/traces", "false", None),
            ("https://xray.eu-west-1.amazonaws.com.example/v1/traces", "auto", None),
            ("https://xray.eu-west-1.example/v1/traces", "auto", None),
            ("https://collector/v1/traces", "auto", None),
            ("https://vpce-1/v1/traces", "true", Some("us-east-2")),
        ] {
            let settings = read(&[(TRACES, url), ("OTEL_XRAY_OTLP_SIGN", sign), ("AWS_REGION", "us-east-2")]);
            assert_eq!(settings.unwrap().sign_for.as_deref(), expected, "{url} {sign}");
        }
    }

    #[test]
    fn what_cannot_work_says_what_to_set() {
        for (pairs, part) in [
            (vec![], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            (vec![(TRACES, "collector:4317")], "http://"),
            (vec![(TRACES, "grpc://collector:4317")], "http://"),
            (vec![(ENDPOINT, "http://c:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http/protobuf"),
            (vec![(TRACES, "https://vpce/v1/traces"), ("OTEL_XRAY_OTLP_SIGN", "true")], "AWS_REGION"),
            (vec![(TRACES, "SECRET")], TRACES),
            (vec![(ENDPOINT, "https://user:SEC RET@h")], ENDPOINT),
            (vec![(ENDPOINT, "http://c"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "SECRET")], "http/protobuf"),
            (
                vec![(TRACES, "https://u:SECRET@vpce/v1?SECRET"), ("OTEL_XRAY_OTLP_SIGN", "true")],
                "the OTLP endpoint https://vpce/v1 is",
            ),
        ] {
            let message = read(&pairs).unwrap_err().to_string();
            assert!(!message.contains("SEC"), "{message}");
            assert!(message.contains(part), "{message}");
        }
        assert!(read(&[(ENDPOINT, "http://localhost:4319")]).is_ok());
    }
}
