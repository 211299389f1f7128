//! The managed Python runtime with the real runtime client. `OTEL_XRAY_TEST_PYTHON` names an interpreter that has
//! `awslambdaric` 4 or newer installed; without the variable these tests say so and pass.

use std::fs;
use std::time::Duration;

use otel_xray_local::lambda::{
    Config, Event, InitializationType, LambdaEnvironment, Origin, RuntimeKind, write_executable,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, layer, quiet, start};

const APP: &str = r#"
import json, os, sys, threading, time

def handler(event, context):
    print("handling", context.aws_request_id)
    return {"event": event, "trace": os.environ.get("_X_AMZN_TRACE_ID"), "cwd": os.getcwd()}

def look(event, context):
    return {"path": sys.path, "variables": dict(os.environ), "argv": sys.argv}

def fail(event, context):
    raise KeyError("id")

def leave(event, context):
    os._exit(7)

def sleep(event, context):
    time.sleep(60)

def rendezvous(event, context):
    folder = os.environ["TMPDIR"]
    open(os.path.join(folder, event), "w").close()
    while not all(os.path.exists(os.path.join(folder, name)) for name in ("one", "two")):
        time.sleep(0.005)
    return {"pid": os.getpid(), "trace": os.environ.get("_X_AMZN_TRACE_ID")}

def chatter(event, context):
    def talk():
        while True:
            print("chatter", flush=True)
            time.sleep(0.01)
    if threading.active_count() < 50:
        threading.Thread(target=talk, daemon=True).start()
    return None
"#;

/// Layer, function and configuration; none when no interpreter is named.
fn python(handler: &str) -> Option<(TempDir, TempDir, Config)> {
    let Ok(interpreter) = std::env::var("OTEL_XRAY_TEST_PYTHON") else {
        println!("skipped: OTEL_XRAY_TEST_PYTHON does not name a Python with awslambdaric");
        return None;
    };
    let (layer, task) = (layer(&["collector"]), TempDir::new().unwrap());
    fs::write(task.path().join("app.py"), APP).unwrap();
    let mut config = config(&layer, &json!({}));
    config.runtime = RuntimeKind::python(interpreter);
    config.task_dir = task.path().into();
    config.handler = handler.into();
    Some((layer, task, config))
}

async fn answer(environment: &LambdaEnvironment, event: &str) -> Value {
    let answer = environment.invoke(event.to_owned(), None).await.unwrap();
    assert!(answer.is_success(), "{:?} {:?}", answer.error, environment.event_log().lines(&Origin::Runtime));
    serde_json::from_slice(&answer.payload).unwrap()
}

#[tokio::test]
async fn the_real_runtime_client_invokes_the_handler() {
    let Some((_layer, task, config)) = python("app.handler") else {
        return;
    };
    let environment = start(config).await;
    let mut ids = Vec::new();
    for index in 0..3 {
        let event = json!({"index": index, "text": "grüße"});
        let sent = environment.invoke(event.to_string(), None).await.unwrap();
        let body: Value = serde_json::from_slice(&sent.payload).unwrap();
        assert_eq!(body["event"], event);
        assert_eq!(body["trace"], json!(sent.runtime_trace_header));
        assert_eq!(body["cwd"], json!(fs::canonicalize(task.path()).unwrap()));
        ids.push(sent.request_id);
    }
    let report = environment.shutdown().await.unwrap();
    assert!(report.runtime_exit.is_some());
    let expected: Vec<String> = ids.iter().map(|id| format!("handling {id}")).collect();
    assert_eq!(environment.event_log().lines(&Origin::Runtime), expected);
    assert!(!task.path().join("__pycache__").exists(), "the task root is read-only on Lambda");
}

#[tokio::test]
async fn l_11_7_the_layers_python_folders_are_found_only_without_pythonpath() {
    for pythonpath in [None, Some("/somewhere")] {
        let Some((layer, task, mut config)) = python("app.look") else {
            return;
        };
        if let Some(path) = pythonpath {
            config.variables.insert("PYTHONPATH".to_owned(), path.to_owned());
        }
        let environment = start(config).await;
        let seen = answer(&environment, "{}").await;
        let path: Vec<&str> = seen["path"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let (layer, task) = (fs::canonicalize(layer.path()).unwrap(), fs::canonicalize(task.path()).unwrap());
        assert_eq!(path[0], task.to_str().unwrap());
        let folder = layer.join("python").display().to_string();
        assert_eq!(path.contains(&folder.as_str()), pythonpath.is_none());
        let variables = &seen["variables"];
        assert_eq!(variables["_HANDLER"], "app.look");
        let version =
            variables["AWS_EXECUTION_ENV"].as_str().unwrap().strip_prefix("AWS_Lambda_python").unwrap();
        assert_eq!(
            path.contains(&format!("{folder}/lib/python{version}/site-packages").as_str()),
            pythonpath.is_none()
        );
        assert_eq!(variables["LAMBDA_TASK_ROOT"], json!(task));
        assert_eq!(variables["AWS_LAMBDA_LOG_GROUP_NAME"], "/aws/lambda/function");
        assert_eq!(variables.get("HOME"), None);
    }
}

#[tokio::test]
async fn l_11_2_the_wrapper_gets_the_command_line_and_can_swap_the_handler() {
    let Some((layer, _task, mut config)) = python("app.fail") else {
        return;
    };
    let wrapper = "#!/bin/sh\necho \"wrapped $0 $#\"\nexport _HANDLER=app.handler\nexec \"$@\"\n";
    write_executable(&layer.path().join("otel-instrument"), wrapper).unwrap();
    config.variables.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/opt/otel-instrument".to_owned());
    let environment = start(config).await;
    assert_eq!(answer(&environment, "{}").await["event"], json!({}));
    let own_path = fs::canonicalize(layer.path()).unwrap().join("otel-instrument");
    let line = format!("wrapped {} 2", own_path.display());
    assert!(environment.event_log().lines(&Origin::Runtime).contains(&line));
}

#[tokio::test]
async fn l_11_2_a_wrapper_that_is_not_there_fails_the_function() {
    let Some((_layer, _task, mut config)) = python("app.handler") else {
        return;
    };
    config.variables.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/opt/none".to_owned());
    let environment = start(config).await;
    let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
    assert_eq!(error.error_type, "Runtime.ExitError");
    assert_eq!(error.message, "Runtime exited with error: exit status 127");
    let lines = environment.event_log().lines(&Origin::Runtime);
    assert!(lines.contains(&"/opt/none: does not exist".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn a_raised_exception_comes_with_its_cause() {
    let Some((_layer, _task, config)) = python("app.fail") else {
        return;
    };
    let environment = start(config).await;
    let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
    assert_eq!((error.error_type.as_str(), error.message.as_str()), ("KeyError", "'id'"));
    let cause: Value = serde_json::from_str(&error.xray_cause.unwrap()).unwrap();
    assert_eq!(cause["exceptions"][0]["type"], "KeyError");
    assert_eq!(cause["exceptions"][0]["stack"][0]["label"], "fail");
    assert!(environment.invoke("{}", None).await.unwrap().error.is_some(), "the runtime lives on");
    assert_eq!(environment.invocation_reports().iter().filter(|report| report.reset.is_some()).count(), 0);
}

#[tokio::test]
async fn a_handler_that_cannot_be_loaded_is_named() {
    for (handler, error_type, name) in [
        ("missing.handler", "Runtime.ImportModuleError", "missing"),
        ("app.missing", "Runtime.HandlerNotFound", "missing"),
        ("nothing", "Runtime.MalformedHandlerName", "nothing"),
    ] {
        let Some((_layer, _task, mut config)) = python(handler) else {
            return;
        };
        config.handler = handler.into();
        let environment = start(config).await;
        let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
        assert_eq!(error.error_type, error_type);
        assert!(error.message.contains(name), "{}", error.message);
    }
}

#[tokio::test]
async fn exits_and_timeouts_of_a_real_process() {
    let Some((_layer, _task, config)) = python("app.leave") else {
        return;
    };
    let environment = start(config).await;
    let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
    assert_eq!(error.message, "Runtime exited with error: exit status 7");

    let Some((_layer, _task, mut config)) = python("app.sleep") else {
        return;
    };
    config.timeout = Duration::from_secs(1);
    let environment = start(config).await;
    let error = environment.invoke("{}", None).await.unwrap().error.unwrap();
    assert_eq!(error.message, "Task timed out after 1.00 seconds");
}

#[tokio::test]
async fn sim_11_threads_of_a_frozen_runtime_stand_still() {
    let Some((_layer, _task, config)) = python("app.chatter") else {
        return;
    };
    let environment = start(config).await;
    for _ in 0..2 {
        answer(&environment, "{}").await;
        environment.idle().await.unwrap();
        quiet(&environment).await;
        let mark = environment.event_log().mark();
        environment.sleep(Duration::from_millis(200)).await.unwrap();
        let lines = environment.event_log().entries_since(mark);
        assert_eq!(lines.iter().filter(|entry| matches!(entry.event, Event::Line { .. })).count(), 0);
    }
    assert!(environment.event_log().lines(&Origin::Runtime).contains(&"chatter".to_owned()));
}

#[tokio::test]
async fn sim_22_workers_of_the_real_client_run_at_once() {
    let Some((_layer, _task, mut config)) = python("app.rendezvous") else { return };
    config.variables.insert("FAKE_EXTENSION".to_owned(), json!({"*": {"events": ["SHUTDOWN"]}}).to_string());
    config.initialise_as(InitializationType::ManagedInstances { concurrency: 2 });
    let environment = std::sync::Arc::new(start(config).await);
    assert_eq!(environment.init_report().failure, None);
    let both = [r#""one""#, r#""two""#].map(|event| {
        let environment = environment.clone();
        tokio::spawn(async move { answer(&environment, event).await })
    });
    let mut pids = Vec::new();
    for invocation in both {
        let answer = invocation.await.unwrap();
        assert!(answer["trace"].as_str().unwrap().starts_with("Root="), "L-3.3: {answer}");
        pids.push(answer["pid"].clone());
    }
    assert_ne!(pids[0], pids[1], "one process for each of them");
    environment.shutdown().await.unwrap();
}

#[tokio::test]
async fn t_16_the_real_client_waits_for_its_restore() {
    let Some((_layer, _task, mut config)) = python("app.handler") else { return };
    config.initialise_as(InitializationType::SnapStart);
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure, None);
    let path = "/2018-06-01/runtime/restore/next";
    let waits = |event: &Event| matches!(event, Event::ApiCall { path: called, .. } if called == path);
    assert_eq!(environment.event_log().count(waits), 1);
    answer(&environment, "{}").await;
    assert!(environment.event_log().lines(&Origin::Runtime).iter().any(|line| line.starts_with("handling")));
    environment.shutdown().await.unwrap();
}
