//! Layers, functions and environments for the tests of this crate.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use otel_xray_local::lambda::{Config, Event, LambdaEnvironment, Origin, RuntimeKind, ScriptedRuntime};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up: only what hangs reaches it.
pub(crate) const BOUND: Duration = Duration::from_mins(3);

/// Waits until this holds.
pub(crate) async fn until(what: &str, reached: impl Fn() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(BOUND, wait).await.expect(what);
}

/// Lets time pass in a frozen environment until what was written before has been read.
pub(crate) async fn quiet(environment: &LambdaEnvironment) {
    let log = environment.event_log();
    let settle = async {
        loop {
            let mark = log.mark();
            environment.sleep(Duration::from_millis(100)).await.unwrap();
            if !log.entries_since(mark).iter().any(|entry| matches!(entry.event, Event::Line { .. })) {
                return;
            }
        }
    };
    tokio::time::timeout(BOUND, settle).await.expect("a frozen environment falls silent");
}

/// A layer directory whose extensions are links to the fake one.
pub(crate) fn layer(extensions: &[&str]) -> TempDir {
    let layer = TempDir::new().unwrap();
    let folder = layer.path().join("extensions");
    fs::create_dir(&folder).unwrap();
    for name in extensions {
        symlink(env!("CARGO_BIN_EXE_fake-extension"), folder.join(name)).unwrap();
    }
    layer
}

/// A scripted runtime that returns its event, and generous limits: a slow machine fails no test.
pub(crate) fn config(layer: &TempDir, script: &Value) -> Config {
    let echo = ScriptedRuntime::handler(|event| event.payload.to_vec());
    let mut config = Config::new(layer.path(), RuntimeKind::Scripted(echo));
    config.task_dir = layer.path().into();
    config.timeout = Duration::from_mins(1);
    config.init_limit = Duration::from_mins(1);
    config.shutdown_budgets.total = Duration::from_secs(30);
    config.shutdown_budgets.telemetry = Duration::from_secs(30);
    config.variables.insert("FAKE_EXTENSION".to_owned(), script.to_string());
    config
}

pub(crate) async fn start(config: Config) -> LambdaEnvironment {
    LambdaEnvironment::start(config).await.unwrap()
}

pub(crate) fn extension(name: &str) -> Origin {
    Origin::Extension(name.to_owned())
}

/// The rest of every line of an extension that begins with `word`.
pub(crate) fn said(environment: &LambdaEnvironment, name: &str, word: &str) -> Vec<String> {
    let lines = environment.event_log().lines(&extension(name));
    lines.iter().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned)).collect()
}

/// The same, each read as JSON.
pub(crate) fn said_json(environment: &LambdaEnvironment, name: &str, word: &str) -> Vec<Value> {
    said(environment, name, word).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A real runtime process that does what the event says.
pub(crate) fn process_runtime() -> RuntimeKind {
    RuntimeKind::Command(vec![env!("CARGO_BIN_EXE_fake-runtime").to_owned()])
}

/// The records of one type, as an extension that subscribed got them.
pub(crate) fn telemetry(environment: &LambdaEnvironment, name: &str, event_type: &str) -> Vec<Value> {
    telemetry_events(environment, name, event_type).iter().map(|event| event["record"].clone()).collect()
}

/// The same with their envelopes.
pub(crate) fn telemetry_events(environment: &LambdaEnvironment, name: &str, event_type: &str) -> Vec<Value> {
    said(environment, name, "telemetry")
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok())
        .filter(|event| event["type"] == event_type)
        .collect()
}
