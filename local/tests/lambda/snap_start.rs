//! Initialisation ahead of time: `SnapStart` (L-8.23, L-8.24, T-16) and provisioned concurrency (8.9).

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use otel_xray_local::lambda::{
    Config, Event, InitializationType, InvocationStatus, LambdaEnvironment, Phase, RuntimeClient,
    RuntimeKind, ScriptedRuntime,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, layer, said_json, start, telemetry, telemetry_events};

fn subscribed() -> Value {
    json!({"*": {"subscribe_at": "init"}})
}

/// Waits for the restore, then answers with its events; `exit` ends it, a hook fails when it is told to.
fn restored_runtime(hook_fails: bool) -> RuntimeKind {
    RuntimeKind::Scripted(ScriptedRuntime::new(move |client| async move {
        if client.restore_next().await.is_err() {
            return 1;
        }
        if hook_fails {
            let _ = client.fail_restore("Runtime.AfterRestoreError", "no entropy").await;
            return 65;
        }
        loop {
            let Ok(event) = client.next().await else { return 1 };
            if &event.payload[..] == b"exit" {
                return 7;
            }
            if client.respond(&event.request_id, event.payload).await.is_err() {
                return 1;
            }
        }
    }))
}

fn snap_start(layer: &TempDir, hook_fails: bool) -> Config {
    let mut config = config(layer, &subscribed());
    config.runtime = restored_runtime(hook_fails);
    config.initialise_as(InitializationType::SnapStart);
    config.freeze_after_init = false;
    config
}

fn phases(environment: &LambdaEnvironment) -> Vec<Phase> {
    let phase = |event| if let Event::Phase(phase) = event { Some(phase) } else { None };
    environment.event_log().entries().into_iter().filter_map(|entry| phase(entry.event)).collect()
}

/// Status and body of the credentials endpoint.
async fn credentials(environment: &LambdaEnvironment, token: &str) -> (StatusCode, Value) {
    let client = RuntimeClient { api: environment.runtime_api() };
    let headers = [("Authorization", token)];
    let path = "/2021-04-23/credentials";
    let (status, _, body) = client.call(Method::GET, path, &headers, Bytes::new()).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn t_16_a_snapshot_is_restored_for_the_first_invocation() {
    let layer = layer(&["collector"]);
    let mut config = snap_start(&layer, false);
    config.snapshot_age = Duration::from_hours(48);
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure, None);
    // The snapshot: frozen, and nobody has asked for an invocation.
    assert_eq!(environment.event_log().count(|event| matches!(event, Event::Frozen { .. })), 1);
    let variables = said_json(&environment, "collector", "environment").remove(0);
    assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "snap-start");
    assert_eq!(variables.get("AWS_ACCESS_KEY_ID"), None);
    let uri = format!("http://{}/2021-04-23/credentials", environment.runtime_api());
    assert_eq!(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"], json!(uri));
    let token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"].as_str().unwrap();
    let before = credentials(&environment, token).await;
    assert_eq!((before.0, before.1["Token"].as_str()), (StatusCode::OK, Some("local-token")));
    assert_eq!(credentials(&environment, "wrong").await.0, StatusCode::NOT_FOUND);

    for event in ["one", "two"] {
        assert_eq!(environment.invoke(event, None).await.unwrap().payload, event);
    }
    // L-8.23: credentials that a snapshot has read are old.
    let after = credentials(&environment, token).await;
    assert_eq!(
        (&after.1["Token"], &after.1["AccessKeyId"]),
        (&json!("local-token-1"), &json!("AKIDEXAMPLE-1"))
    );
    let expires = |answer: &Value| answer["Expiration"].as_str().unwrap().to_owned();
    // SIM-21: two days lie between the snapshot and the restore, by all that the platform says.
    assert!(expires(&before.1)[..10] < expires(&after.1)[..10]);
    environment.shutdown().await.unwrap();
    let reports = environment.invocation_reports();
    assert!(reports[0].restore_duration.is_some() && reports[0].init_duration.is_none());
    assert!(reports[1].restore_duration.is_none());
    let phases = phases(&environment);
    assert_eq!(phases[..5], [Phase::Init, Phase::Idle, Phase::Restore, Phase::Invoke, Phase::Invoke]);

    assert_eq!(telemetry(&environment, "collector", "platform.initStart")[0]["phase"], "snap-start");
    let times: Vec<String> = ["platform.initStart", "platform.restoreStart"]
        .iter()
        .map(|kind| telemetry_events(&environment, "collector", kind)[0]["time"].as_str().unwrap().to_owned())
        .collect();
    assert!(times[0][..10] < times[1][..10], "{times:?}");
    for name in ["platform.restoreStart", "platform.restoreRuntimeDone", "platform.restoreReport"] {
        assert_eq!(telemetry(&environment, "collector", name).len(), 1, "{name}");
    }
    let report = &telemetry(&environment, "collector", "platform.report")[0]["metrics"];
    assert!(report["restoreDurationMs"].is_number() && report.get("initDurationMs").is_none(), "{report}");
}

#[tokio::test]
async fn a_hook_that_fails_after_the_restore_fails_the_invocation() {
    let layer = layer(&["collector"]);
    let environment = start(snap_start(&layer, true)).await;
    let answer = environment.invoke("one", None).await.unwrap();
    assert_eq!(answer.error.unwrap().error_type, "Runtime.AfterRestoreError");
    environment.idle().await.unwrap();
    assert_eq!(environment.invocation_reports()[0].status, InvocationStatus::Failure);
}

#[tokio::test]
async fn l_8_21_after_a_crash_a_snapshot_is_made_and_restored_within_the_invocation() {
    let layer = layer(&["collector"]);
    let environment = start(snap_start(&layer, false)).await;
    assert!(!environment.invoke("exit", None).await.unwrap().is_success());
    assert_eq!(environment.invoke("again", None).await.unwrap().payload, "again");
    environment.shutdown().await.unwrap();
    let starts = telemetry(&environment, "collector", "platform.initStart");
    assert_eq!(
        starts.iter().map(|start| start["phase"].clone()).collect::<Vec<_>>(),
        ["snap-start", "invoke"]
    );
    assert!(environment.invocation_reports()[1].restore_duration.is_some());
}

#[tokio::test]
async fn only_snap_start_has_a_restore() {
    let layer = layer(&[]);
    let environment = start(config(&layer, &json!({}))).await;
    let client = RuntimeClient { api: environment.runtime_api() };
    assert!(client.restore_next().await.unwrap_err().to_string().contains("404"));
    assert_eq!(credentials(&environment, "any").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn l_7_2_metadata_for_who_has_the_token() {
    let layer = layer(&["collector"]);
    let environment = start(config(&layer, &json!({}))).await;
    let variables = said_json(&environment, "collector", "environment").remove(0);
    assert_eq!(variables["AWS_LAMBDA_METADATA_API"], json!(environment.runtime_api().to_string()));
    let client = RuntimeClient { api: environment.runtime_api() };
    let path = "/2026-01-15/metadata/execution-environment";
    let token = format!("Bearer {}", variables["AWS_LAMBDA_METADATA_TOKEN"].as_str().unwrap());
    let authorization = [("Authorization", token.as_str())];
    let (status, headers, body) = client.call(Method::GET, path, &authorization, Bytes::new()).await.unwrap();
    assert_eq!((status, &body[..]), (StatusCode::OK, &br#"{"AvailabilityZoneID":"use1-az1"}"#[..]));
    assert_eq!(headers["cache-control"], "private, max-age=43200, immutable");
    let (status, ..) = client.call(Method::GET, path, &[], Bytes::new()).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn l_8_9_provisioned_concurrency_is_initialised_ahead_and_frozen() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &subscribed());
    config.initialise_as(InitializationType::ProvisionedConcurrency);
    assert_eq!(config.init_limit, Duration::from_secs(130), "section 2");
    let environment = start(config).await;
    assert_eq!(environment.event_log().count(|event| matches!(event, Event::Frozen { .. })), 1);
    environment.invoke("{}", None).await.unwrap();
    environment.shutdown().await.unwrap();
    let variables = said_json(&environment, "collector", "environment").remove(0);
    assert_eq!(variables["AWS_LAMBDA_INITIALIZATION_TYPE"], "provisioned-concurrency");
    let report = &telemetry(&environment, "collector", "platform.initReport")[0];
    assert_eq!(report["initializationType"], "provisioned-concurrency");
    assert_eq!(report["phase"], "init");
}
