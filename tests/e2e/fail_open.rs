//! Whatever goes wrong with the tracing, the function's answers stay the same (P1), and it costs one line.

use anyhow::Result;
use otel_xray_local::xray::Fault;
use otel_xray_tests::{Run, Stage, free_address};
use serde_json::{Value, json};
use std::time::Duration;

const FUNCTION: &str = r#"
def handler(event, context):
    if event.get("fail"):
        raise ValueError("no such order")
    return {"seen": event, "text": "äöü"}
"#;

fn events() -> Vec<Value> {
    vec![json!({"order": 1}), json!({"fail": true}), json!({"order": 2})]
}

async fn plain() -> Result<Run> {
    let empty = tempfile::TempDir::new()?;
    let mut stage = Stage::python(FUNCTION).await?;
    stage.without_layer(empty.path());
    stage.run(&events()).await
}

/// The stack names the function's directory, which is another for each stage.
fn comparable(run: &Run) -> Vec<(Option<String>, String)> {
    let place = |payload: String| match payload.find("File \\\"") {
        Some(begin) => {
            let end = payload[begin..].find("app.py").map_or(payload.len(), |end| begin + end);
            format!("{}{}", &payload[..begin], &payload[end..])
        }
        None => payload,
    };
    run.seen_by_callers().into_iter().map(|(kind, payload)| (kind, place(payload))).collect()
}

async fn same_answers_and_one_line(stage: Stage, about: &str) -> Result<Value> {
    let run = stage.run(&events()).await?;
    assert_eq!(comparable(&run), comparable(&plain().await?));
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 1, "one line, about {about}: {complaints:?}");
    assert!(complaints[0].contains(about), "{complaints:?}");
    Ok(run.accounts())
}

#[tokio::test(flavor = "multi_thread")]
async fn xray_that_is_not_there() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("AWS_ENDPOINT_URL_XRAY", &format!("http://{}", free_address()?));
    let accounts = same_answers_and_one_line(stage, "X-Ray could not be reached").await?;
    assert_eq!(accounts["carried"], json!(3), "nothing is lost silently");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_9_otlp_port_that_is_taken() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let _owner = std::net::TcpListener::bind(stage.otlp)?;
    let accounts = same_answers_and_one_line(stage, "OTLP on 127.0.0.1").await?;
    assert_eq!(accounts["sent"], json!(3), "the agent does not need the port");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_missing() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        stage.set(name, "");
    }
    let accounts = same_answers_and_one_line(stage, "no AWS credentials").await?;
    assert_eq!(accounts["carried"], json!(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bet_36_permission_that_is_missing_is_named() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    stage.xray.faults().add(&Fault::Status(403, "AccessDeniedException"), 100);
    let requests = stage.xray.requests();
    assert_eq!(requests, []);
    same_answers_and_one_line(stage, "xray:PutTraceSegments").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_makes_no_sense() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "soon");
    let accounts = same_answers_and_one_line(stage, "OTEL_XRAY_FLUSH_TIMEOUT_MS=\"soon\"").await?;
    assert_eq!(accounts["sent"], json!(3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_5_xray_that_hangs_holds_nothing_and_gets_the_spans_later() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "2000");
    stage.xray.faults().add(&Fault::Hang, 1);
    let store = stage.xray.store();
    let accounts = same_answers_and_one_line(stage, "did not answer in the time allowed").await?;
    assert_eq!((&accounts["sent"], &accounts["carried"]), (&json!(3), &json!(0)));
    assert_eq!(store.duplicates(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tv_18_pts_6_throttling_and_trouble_at_xray_are_tried_again() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    stage.xray.faults().add(&Fault::Status(429, "ThrottledException"), 1);
    stage.xray.faults().add(&Fault::Status(503, "ServiceUnavailable"), 1);
    let run = stage.run(&events()).await?;
    assert_eq!(run.accounts()["sent"], json!(3));
    assert_eq!(run.complaints(), Vec::<&String>::new());
    assert_eq!(stage.xray.requests().iter().map(|r| r.status).collect::<Vec<_>>(), [429, 503, 200, 200, 200]);
    assert_eq!(stage.xray.store().duplicates(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_12_a_layer_with_parts_missing_starts_the_function_unchanged() -> Result<()> {
    for missing in ["python", "extensions"] {
        let mut stage = Stage::python(FUNCTION).await?;
        let broken = tempfile::TempDir::new()?;
        copy(stage.layer_dir(), broken.path())?;
        std::fs::remove_dir_all(broken.path().join(missing))?;
        stage.config.layer_dir = broken.path().into();
        let run = stage.run(&events()).await?;
        assert_eq!(comparable(&run), comparable(&plain().await?), "without {missing}");
        let own: Vec<&String> = run.function_lines.iter().filter(|line| line.contains("otel-xray")).collect();
        assert_eq!(own, Vec::<&String>::new(), "without {missing}");
        assert_eq!(stage.xray.requests(), []);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn turned_off_means_off() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_ENABLED", "false");
    let run = stage.run(&events()).await?;
    assert_eq!(comparable(&run), comparable(&plain().await?));
    assert_eq!(stage.xray.requests(), []);
    assert_eq!(run.accounts()["received"], json!(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn l_8_6_a_connection_that_died_in_the_freeze_costs_nothing() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    stage.xray.faults().add(&Fault::Delay(Duration::from_millis(1)), 1);
    stage.xray.faults().add(&Fault::Close, 1);
    let run = stage.run(&events()).await?;
    assert_eq!(run.accounts()["sent"], json!(3));
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
