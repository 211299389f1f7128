//! Trouble on request that an environment itself brings (SIM-21).

use otel_xray_local::lambda::{LambdaEnvironment, StartError, TelemetryFaults};
use serde_json::json;

use crate::support::{config, layer, process_runtime, said, said_json, start, telemetry, until};

#[tokio::test]
async fn sim_21_without_room_in_tmp_nothing_can_be_written_there() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({"*": {"writes_to_tmp": true}}));
    config.runtime = process_runtime();
    config.temporary_full = true;
    let environment = match LambdaEnvironment::start(config).await {
        Err(StartError::FullDisk(error)) => {
            println!("skipped: mounting is not allowed here: {error}");
            return;
        }
        environment => environment.unwrap(),
    };
    let written = said(&environment, "collector", "written");
    assert!(written[0].contains("StorageFull"), "{written:?}");
    assert!(environment.invoke("{}", None).await.unwrap().is_success());
    let directory = said_json(&environment, "collector", "environment").remove(0)["TMPDIR"].clone();
    environment.shutdown().await.unwrap();
    drop(environment);
    let directory = std::path::Path::new(directory.as_str().unwrap());
    until("nothing is left of it", || !directory.exists()).await;
}

#[tokio::test]
async fn without_credentials_there_are_no_variables_of_them() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({}));
    config.credentials = None;
    let environment = start(config).await;
    let variables = said_json(&environment, "collector", "environment").remove(0);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        assert_eq!(variables.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn sim_21_telemetry_that_comes_twice() {
    let layer = layer(&["collector"]);
    let mut config = config(&layer, &json!({"*": {"subscribe_at": "init"}}));
    config.telemetry_faults = TelemetryFaults { duplicated: true, ..TelemetryFaults::default() };
    let environment = start(config).await;
    environment.invoke("{}", None).await.unwrap();
    environment.shutdown().await.unwrap();
    assert_eq!(telemetry(&environment, "collector", "platform.start").len(), 2);
}
