//! The variables of processes (L-3.1): what the runtime sees, and the smaller part that extensions see.

use std::net::SocketAddr;
use std::path::Path;

use crate::lambda::api::CREDENTIALS_PATH;
use crate::lambda::config::{Config, InitializationType};
use crate::lambda::layer::receivers::Receivers;
use crate::lambda::processes::Variables;
use crate::lambda::state::endpoint_tokens::EndpointTokens;

/// Names that only the runtime sees. Names that begin with `_` are withheld from extensions as well.
const RUNTIME_ONLY: [&str; 7] = [
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
];

/// What the environment decides for itself, beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) runtime_api: SocketAddr,
    pub(crate) layer_dir: &'a Path,
    pub(crate) task_dir: &'a Path,
    /// Stands for `/var/runtime`.
    pub(crate) runtime_dir: &'a Path,
    /// Stands for `/tmp`.
    pub(crate) temporary_dir: &'a Path,
    pub(crate) log_stream: &'a str,
    pub(crate) tokens: &'a EndpointTokens,
    pub(crate) receivers: &'a Receivers,
    /// Stands for `/var/lang/bin`.
    pub(crate) interpreter_dir: Option<&'a Path>,
}

/// Every variable of a runtime process. `AWS_EXECUTION_ENV` is not among them: the managed runtime's own bootstrap
/// exports it.
pub(crate) fn for_runtime(config: &Config, facts: &Facts<'_>) -> Variables {
    let layer = facts.layer_dir.display();
    let task = facts.task_dir.display();
    let language_bin = facts.interpreter_dir.map(|path| format!("{}:", path.display())).unwrap_or_default();
    let (daemon_host, daemon_port) =
        config.xray_daemon_address.rsplit_once(':').unwrap_or((&config.xray_daemon_address, "2000"));
    let own = [
        ("AWS_LAMBDA_RUNTIME_API", facts.runtime_api.to_string()),
        ("AWS_REGION", config.region.clone()),
        ("AWS_DEFAULT_REGION", config.region.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", config.function_name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", config.function_version.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", config.memory_mb.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", config.initialization_type.as_str().to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", format!("{language_bin}/usr/local/bin:/usr/bin/:/bin:{layer}/bin")),
        ("LD_LIBRARY_PATH", format!("/lib64:/usr/lib64:{task}:{task}/lib:{layer}/lib")),
        ("AWS_LAMBDA_METADATA_API", facts.runtime_api.to_string()),
        ("AWS_LAMBDA_METADATA_TOKEN", facts.tokens.metadata.clone()),
        ("AWS_XRAY_DAEMON_ADDRESS", config.xray_daemon_address.clone()),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR".to_owned()),
        ("_AWS_XRAY_DAEMON_ADDRESS", daemon_host.to_owned()),
        ("_AWS_XRAY_DAEMON_PORT", daemon_port.to_owned()),
        ("LAMBDA_TASK_ROOT", task.to_string()),
        ("LAMBDA_RUNTIME_DIR", facts.runtime_dir.display().to_string()),
        ("_HANDLER", config.handler.clone()),
        // Two that Lambda does not set: environments on one machine share its abstract sockets and its /tmp. And its ports, below.
        ("OTEL_XRAY_AGENT_SOCKET", format!("otel-xray-{}", facts.runtime_api.port())),
        ("TMPDIR", facts.temporary_dir.display().to_string()),
    ];
    let mut variables: Variables = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let more = if config.initialization_type == InitializationType::SnapStart {
        snapshot_variables(facts)
    } else {
        ordinary_variables(config, facts)
    };
    let receivers = facts.receivers.variables(&config.variables);
    variables.extend(receivers.into_iter().map(|(name, value)| (name.to_owned(), value)));
    variables.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    if let InitializationType::ManagedInstances { concurrency } = config.initialization_type {
        variables.insert("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), concurrency.to_string());
    }
    variables.extend(config.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
    variables
}

/// What a snapshot must not hold: credentials and the names of one environment's log (section 3).
fn ordinary_variables(config: &Config, facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", config.function_name)),
        ("AWS_LAMBDA_LOG_STREAM_NAME", facts.log_stream.to_owned()),
    ];
    if let Some(credentials) = &config.credentials {
        variables.extend([
            ("AWS_ACCESS_KEY_ID", credentials.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key.clone()),
            ("AWS_SESSION_TOKEN", credentials.session_token.clone()),
        ]);
    }
    variables
}

/// Where a restored process finds them instead (L-7.1).
fn snapshot_variables(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("http://{}{CREDENTIALS_PATH}", facts.runtime_api)),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", facts.tokens.credentials.clone()),
    ]
}

/// The part of the runtime's variables that an extension sees (L-3.1).
pub(crate) fn for_extension(runtime: &Variables, config: &Config) -> Variables {
    runtime
        .iter()
        .filter(|(name, _)| !name.starts_with('_') && !RUNTIME_ONLY.contains(&name.as_str()))
        .filter(|(name, _)| !Receivers::is_functions_own(name, &config.variables))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::config::RuntimeKind;

    fn both() -> (Variables, Variables) {
        both_as(InitializationType::OnDemand)
    }

    fn both_as(initialization_type: InitializationType) -> (Variables, Variables) {
        let mut config = Config::new("/layer", RuntimeKind::Command(Vec::new()));
        config.initialization_type = initialization_type;
        config.variables = [
            ("AWS_LAMBDA_EXEC_WRAPPER", "/opt/otel-instrument"),
            ("OTEL_SERVICE_NAME", "orders"),
            ("TABLE", "orders"),
            ("TZ", "Europe/Berlin"),
            ("_PRIVATE", "x"),
            ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let facts = Facts {
            runtime_api: "127.0.0.1:4321".parse().unwrap(),
            layer_dir: Path::new("/layer"),
            task_dir: Path::new("/task"),
            runtime_dir: Path::new("/runtime"),
            temporary_dir: Path::new("/scratch"),
            log_stream: "2026/11/21/[$LATEST]0",
            tokens: &EndpointTokens::new(),
            receivers: &Receivers::default(),
            interpreter_dir: Some(Path::new("/python/bin")),
        };
        let runtime = for_runtime(&config, &facts);
        let extension = for_extension(&runtime, &config);
        (runtime, extension)
    }

    /// The table of section 3: name, seen by the runtime, seen by extensions.
    #[test]
    fn l_3_1_who_sees_which_variable() {
        let (runtime, extension) = both();
        let table = [
            ("AWS_LAMBDA_RUNTIME_API", true, true),
            ("AWS_REGION", true, true),
            ("AWS_DEFAULT_REGION", true, true),
            ("AWS_LAMBDA_FUNCTION_NAME", true, true),
            ("AWS_LAMBDA_FUNCTION_VERSION", true, true),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", true, true),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", true, true),
            ("AWS_ACCESS_KEY_ID", true, true),
            ("AWS_SECRET_ACCESS_KEY", true, true),
            ("AWS_SESSION_TOKEN", true, true),
            ("AWS_LAMBDA_METADATA_API", true, true),
            ("AWS_LAMBDA_METADATA_TOKEN", true, true),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", false, false),
            ("TZ", true, true),
            ("LANG", true, true),
            ("PATH", true, true),
            ("LD_LIBRARY_PATH", true, true),
            ("AWS_LAMBDA_EXEC_WRAPPER", true, true),
            ("OTEL_SERVICE_NAME", true, true),
            ("TABLE", true, true),
            ("OTEL_XRAY_AGENT_SOCKET", true, true),
            ("AWS_LAMBDA_LOG_GROUP_NAME", true, false),
            ("AWS_LAMBDA_LOG_STREAM_NAME", true, false),
            ("AWS_XRAY_DAEMON_ADDRESS", true, false),
            ("_AWS_XRAY_DAEMON_ADDRESS", true, false),
            ("_AWS_XRAY_DAEMON_PORT", true, false),
            ("AWS_XRAY_CONTEXT_MISSING", true, false),
            ("LAMBDA_TASK_ROOT", true, false),
            ("LAMBDA_RUNTIME_DIR", true, false),
            ("_HANDLER", true, false),
            ("_PRIVATE", true, false),
            ("AWS_EXECUTION_ENV", false, false),
            ("_X_AMZN_TRACE_ID", false, false),
            ("AWS_LAMBDA_MAX_CONCURRENCY", false, false),
            ("HOME", false, false),
        ];
        for (name, in_runtime, in_extension) in table {
            assert_eq!(runtime.contains_key(name), in_runtime, "{name} in the runtime");
            assert_eq!(extension.contains_key(name), in_extension, "{name} in an extension");
        }
    }

    #[test]
    fn t_16_a_snapshot_has_no_credentials_and_no_log_of_its_own() {
        let (runtime, extension) = both_as(InitializationType::SnapStart);
        for variables in [&runtime, &extension] {
            for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
                assert!(!variables.contains_key(name), "{name}");
            }
            let uri = variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(String::as_str);
            assert_eq!(uri, Some("http://127.0.0.1:4321/2021-04-23/credentials"));
            assert!(variables.contains_key("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        }
        assert!(!runtime.contains_key("AWS_LAMBDA_LOG_GROUP_NAME"));
        assert!(!runtime.contains_key("AWS_LAMBDA_LOG_STREAM_NAME"));
    }

    #[test]
    fn values_point_into_this_machine_and_configured_ones_win() {
        let (runtime, extension) = both();
        let cases = [
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:4321"),
            ("PATH", "/python/bin:/usr/local/bin:/usr/bin/:/bin:/layer/bin"),
            ("LD_LIBRARY_PATH", "/lib64:/usr/lib64:/task:/task/lib:/layer/lib"),
            ("TZ", "Europe/Berlin"),
            ("OTEL_XRAY_AGENT_SOCKET", "otel-xray-4321"),
            ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000"),
            ("_AWS_XRAY_DAEMON_ADDRESS", "169.254.79.129"),
            ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ];
        for (name, value) in cases {
            assert_eq!(runtime.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(extension.iter().all(|(name, value)| runtime.get(name) == Some(value)));
    }
}
