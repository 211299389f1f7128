//! X-Ray's sampling rules: what each says, and which one a request falls under (section 18.2).

use serde_json::Value;

/// One rule, as `GetSamplingRules` gives it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    pub(super) name: String,
    priority: u64,
    pub(super) reservoir_size: u64,
    pub(super) fixed_rate: f64,
    service_name: String,
    service_type: String,
    resource_arn: String,
    host: String,
    method: String,
    path: String,
    attributes: Vec<(String, String)>,
}

/// What the rules are asked about.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) service_name: &'a str,
    pub(crate) resource_arn: &'a str,
    /// An attribute that is there at the start (SMP-7), by OpenTelemetry's name.
    pub(crate) attribute: &'a dyn Fn(&str) -> Option<String>,
}

const SERVICE_TYPE: &str = "AWS::Lambda::Function";
/// An attribute of a rule, and OpenTelemetry's names for it, the newest first (SMP-6).
const HOST: &[&str] = &["server.address", "http.host"];
const METHOD: &[&str] = &["http.request.method", "http.method"];
const PATH: &[&str] = &["url.path", "http.target"];

impl Rule {
    /// One request a second, then 5 %: where X-Ray has said nothing (SMP-15).
    pub(super) fn fallback() -> Self {
        let any = || "*".to_owned();
        Self {
            name: String::new(),
            priority: 10_000,
            reservoir_size: 1,
            fixed_rate: 0.05,
            service_name: any(),
            service_type: any(),
            resource_arn: any(),
            host: any(),
            method: any(),
            path: any(),
            attributes: Vec::new(),
        }
    }

    /// Reads one of `SamplingRuleRecords`; `None` where it is of a version this does not know.
    pub(super) fn parse(record: &Value) -> Option<Self> {
        let rule = record.get("SamplingRule")?;
        if rule.get("Version").is_some_and(|version| version.as_u64() != Some(1)) {
            return None;
        }
        let pattern = |field: &str| rule[field].as_str().unwrap_or("*").to_owned();
        let attributes = rule["Attributes"].as_object().into_iter().flatten();
        Some(Self {
            name: rule["RuleName"].as_str()?.to_owned(),
            priority: rule["Priority"].as_u64().unwrap_or(10_000),
            reservoir_size: rule["ReservoirSize"].as_u64().unwrap_or(0),
            fixed_rate: rule["FixedRate"].as_f64().unwrap_or(0.0),
            service_name: pattern("ServiceName"),
            service_type: pattern("ServiceType"),
            resource_arn: pattern("ResourceARN"),
            host: pattern("Host"),
            method: pattern("HTTPMethod"),
            path: pattern("URLPath"),
            attributes: attributes
                .map(|(name, pattern)| (name.clone(), pattern.as_str().unwrap_or_default().to_owned()))
                .collect(),
        })
    }

    /// SMP-1: where it stands among the others. `Default` comes last.
    pub(super) fn rank(&self) -> (bool, u64, &str) {
        (self.name == "Default", self.priority, &self.name)
    }

    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        let one_of = |names: &[&str]| names.iter().find_map(|name| (request.attribute)(name));
        // SMP-4: what a request does not have, only `*` matches, lest a rule for a path catches a queue's messages.
        let has = |pattern: &str, names: &[&str]| {
            pattern == "*" || one_of(names).is_some_and(|value| is_match(pattern, &value))
        };
        is_match(&self.service_name, request.service_name)
            && is_match(&self.service_type, SERVICE_TYPE)
            && is_match(&self.resource_arn, request.resource_arn)
            && has(&self.method, METHOD)
            && has(&self.host, HOST)
            && has(&self.path, PATH)
            && self.attributes.iter().all(|(name, pattern)| {
                (request.attribute)(name).is_some_and(|value| is_match(pattern, &value))
            })
    }
}

/// SMP-2 and SMP-3: `*` is any run, `?` one character, case does not count, and the whole text has to match.
fn is_match(pattern: &str, text: &str) -> bool {
    let lower = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<char>>();
    let (pattern, text) = (lower(pattern), lower(text));
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last `*` has to take one character more.
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn smp_2_smp_3_patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "é", true),
            ("a?c", "ABC", true),
            ("/api/*/orders", "/api/v1/x/orders", true),
            ("/api/*/orders", "/api/orders", false),
            ("*.js", "a.js.js", true),
            ("*a*b", "aaab", true),
            ("*a*b", "aaba", false),
            ("a*", "b", false),
            ("a.c", "abc", false),
            ("**", "x", true),
        ] {
            assert_eq!(is_match(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn smp_1_to_smp_7_which_rule_a_request_falls_under() {
        let record = |rule: Value| json!({"SamplingRule": rule, "CreatedAt": 0.0});
        let request = |attributes: &'static [(&'static str, &'static str)]| {
            move |name: &str| {
                attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            }
        };
        let get = [("http.request.method", "GET"), ("url.path", "/orders/7"), ("tenant", "Blue")];
        let cases = [
            (json!({"RuleName": "a"}), true, true),
            (
                json!({"RuleName": "a", "ServiceName": "sh*", "ServiceType": "AWS::Lambda::Function"}),
                true,
                true,
            ),
            (json!({"RuleName": "a", "ServiceType": "AWS::EC2::Instance"}), false, false),
            (json!({"RuleName": "a", "ServiceName": "other"}), false, false),
            (json!({"RuleName": "a", "HTTPMethod": "get", "URLPath": "/orders/*"}), true, false),
            (json!({"RuleName": "a", "URLPath": "/health"}), false, false),
            (json!({"RuleName": "a", "Attributes": {"tenant": "blue"}}), true, false),
            (json!({"RuleName": "a", "Attributes": {"tenant": "blue", "x": "*"}}), false, false),
            (json!({"RuleName": "a", "ResourceARN": "arn:*:function:shop"}), true, true),
        ];
        for (rule, http, queue) in cases {
            let parsed = Rule::parse(&record(rule.clone())).unwrap();
            let matches = |attribute: &dyn Fn(&str) -> Option<String>| {
                let resource_arn = "arn:aws:lambda:eu-west-1:1:function:shop";
                parsed.matches(&Request { service_name: "shop", resource_arn, attribute })
            };
            let with_get = move |name: &str| {
                get.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!((matches(&with_get), matches(&request(&[]))), (http, queue), "{rule}");
        }
        assert_eq!(Rule::parse(&record(json!({"RuleName": "a", "Version": 2}))), None);
        assert_eq!(Rule::parse(&json!({})), None);
    }

    #[test]
    fn smp_1_the_order() {
        let rule = |name: &str, priority: u64| {
            Rule::parse(&json!({"SamplingRule": {"RuleName": name, "Priority": priority}})).unwrap()
        };
        let mut rules = [rule("Default", 1), rule("b", 5), rule("z", 2), rule("a", 5)];
        rules.sort_by(|one, other| one.rank().cmp(&other.rank()));
        assert_eq!(rules.map(|rule| rule.name), ["z", "a", "b", "Default"]);
    }
}
