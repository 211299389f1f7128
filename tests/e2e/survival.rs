//! Ends of the extension's process: what leaves in time, and what the next process on the same `/tmp` sends.

use anyhow::{Context as _, Result};
use otel_xray_local::lambda::{
    Answer, Event, InitializationType, LambdaEnvironment, Origin, RuntimeClient, ScriptedRuntime,
    TelemetryFaults,
};
use otel_xray_local::xray::Fault;
use otel_xray_tests::{Agent, Run, Stage};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const FUNCTION: &str = "
import os, signal, time

def handler(event, context):
    if event.get('hang'):
        time.sleep(30)
    if event.get('exit'):
        os._exit(7)
    if event.get('deaf'):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return event
";

fn exits_of_extension(environment: &LambdaEnvironment) -> Vec<String> {
    let exit = |event| match event {
        Event::ProcessExited { origin: Origin::Extension(_), exit } => Some(exit.to_string()),
        _ => None,
    };
    environment.event_log().entries().into_iter().filter_map(|entry| exit(entry.event)).collect()
}

/// Sums over all processes of an environment.
fn sum(run: &Run, field: &str) -> u64 {
    run.all_accounts().iter().filter_map(|account| account[field].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn t_6_t_7_after_a_timeout_and_after_an_exit_the_extension_ends_in_time_and_starts_again() -> Result<()>
{
    for event in [json!({"hang": true}), json!({"exit": true})] {
        let mut stage = Stage::python(FUNCTION).await?;
        stage.config.timeout = Duration::from_secs(6);
        let environment = LambdaEnvironment::start(stage.config.clone()).await?;
        let mut answers = vec![environment.invoke(event.to_string(), None).await?];
        environment.idle().await?;
        assert_eq!(exits_of_extension(&environment), ["exit status 0"], "before it was killed");
        assert_eq!(stage.spans_arrived(), 1, "the handler's span, closed by the extension: {event}");
        answers.push(environment.invoke("{}", None).await?);
        environment.idle().await?;
        assert!(!answers[0].is_success() && answers[1].is_success(), "{answers:?}");
        let run = stage.end(environment, answers).await?;
        assert_eq!((sum(&run, "sent"), sum(&run, "carried")), (2, 0), "{event}: {:?}", run.lines);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_8_a_runtime_that_ignores_its_end_leaves_enough_time_for_the_extension() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    stage.xray.faults().add(&Fault::Status(503, "ServiceUnavailable"), 3);
    // An extension that is killed fails the run.
    let run = stage.run(&[json!({"deaf": true})]).await?;
    assert_eq!((sum(&run, "received"), sum(&run, "sent")), (1, 1), "{:?}", run.lines);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn l_2_2_what_xray_did_not_take_before_a_crash_is_sent_by_the_next_process() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    stage.xray.faults().choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = vec![environment.invoke("{}", None).await?];
    environment.idle().await?;
    answers.push(environment.invoke(json!({"exit": true}).to_string(), None).await?);
    environment.idle().await?;
    assert_eq!(stage.spans_arrived(), 0);
    stage.xray.faults().clear();
    answers.push(environment.invoke("{}", None).await?);
    environment.idle().await?;
    assert_eq!(stage.spans_arrived(), 3, "with the first invocation that can");
    let run = stage.end(environment, answers).await?;
    let accounts = run.all_accounts();
    assert_eq!((&accounts[0]["carried"], &accounts[1]["restored"]), (&json!(2), &json!(2)), "{accounts:?}");
    assert_eq!((sum(&run, "received"), sum(&run, "sent")), (3, 3), "each counts once: {accounts:?}");
    assert_eq!(stage.xray.store().duplicates(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_spool_that_cannot_be_written_costs_a_line_and_is_counted() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_SPOOL", "/proc/nowhere");
    stage.xray.faults().choose(|_| Some(Fault::Status(503, "ServiceUnavailable")));
    let run = stage.run(&[json!({})]).await?;
    assert_eq!(run.accounts()["dropped"], json!({"not_spooled": 1}));
    let about = run.complaints().iter().filter(|line| line.contains("/proc/nowhere")).count();
    assert_eq!(about, 1, "{:?}", run.lines);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_10_telemetry_that_is_doubled_disordered_large_and_unknown_changes_nothing() -> Result<()> {
    let plain = Stage::python(FUNCTION).await?.run(&[json!({"n": 1}), json!({"n": 2})]).await?;
    let faults = [
        TelemetryFaults { duplicated: true, ..TelemetryFaults::default() },
        TelemetryFaults { reversed: true, ..TelemetryFaults::default() },
        TelemetryFaults { padding_bytes: 400_000, ..TelemetryFaults::default() },
        TelemetryFaults { padding_bytes: 3_000_000, ..TelemetryFaults::default() },
    ];
    for faults in faults {
        let mut stage = Stage::python(FUNCTION).await?;
        stage.config.telemetry_faults = faults;
        let run = stage.run(&[json!({"n": 1}), json!({"n": 2})]).await?;
        assert_eq!(run.seen_by_callers(), plain.seen_by_callers(), "{faults:?}");
        let accounts = run.accounts();
        assert_eq!((&accounts["sent"], &accounts["received"]), (&json!(2), &json!(2)), "{faults:?}");
        assert_eq!(run.complaints().len(), usize::from(faults.padding_bytes > 1 << 20), "{:?}", run.lines);
    }
    Ok(())
}

/// Runs until the file is there that its event names.
const WAITS: &str = "
import os, time

def handler(event, context):
    while 'until' in event and not os.path.exists(event['until']):
        time.sleep(0.01)
";

#[tokio::test(flavor = "multi_thread")]
async fn periodic_flushes_add_no_request_to_an_invocation_and_the_last_batch_leaves() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("OTEL_XRAY_FLUSH", "periodic:900000");
    let run = stage.run(&[json!({}), json!({}), json!({})]).await?;
    assert_eq!(run.accounts()["sent"], json!(3));
    assert_eq!(stage.xray.requests().len(), 1, "at the shutdown");

    let mut stage = Stage::python(WAITS).await?;
    stage.set("OTEL_XRAY_FLUSH", "periodic:10");
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = vec![environment.invoke("{}", None).await?];
    environment.idle().await?;
    let go = stage.config.task_dir.join("go");
    let beside = async {
        let arrived = stage.wait_for_spans(1).await.context("the first one's leaves beside the second");
        std::fs::write(&go, "")?;
        arrived
    };
    let waits = json!({"until": go}).to_string();
    let (answer, arrived) = tokio::join!(environment.invoke(waits, None), beside);
    answers.push(answer?);
    arrived?;
    environment.idle().await?;
    assert_eq!(stage.end(environment, answers).await?.accounts()["sent"], json!(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_invocation_is_seen_while_it_runs() -> Result<()> {
    let mut stage = Stage::python("import time\ndef handler(event, context):\n    time.sleep(1)\n").await?;
    stage.set("OTEL_XRAY_PROGRESS_MS", "200");
    let run = stage.run(&[json!({})]).await?;
    assert_eq!(run.accounts()["sent"], json!(1), "progress is no span of its own");
    let requests = stage.xray.requests();
    assert_eq!(requests.len(), 2, "one while it ran, one at its end: {requests:?}");
    Ok(())
}

/// Workers that each trace their invocations in one process, as on Managed Instances.
fn workers(count: usize) -> ScriptedRuntime {
    ScriptedRuntime::new(move |client| async move {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..count {
            tasks.spawn(worker(client.clone()));
        }
        tasks.join_next().await.and_then(Result::ok).and_then(Result::ok).unwrap_or(1)
    })
}

async fn worker(client: RuntimeClient) -> Result<i32> {
    let mut agent = Agent::connect(client.api.port())?;
    loop {
        let event = client.next().await?;
        let handler = agent.enter(&event)?;
        agent.call(&handler)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        agent.end(handler)?;
        agent.done(&event.request_id)?;
        client.respond(&event.request_id, event.payload).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t_11_on_managed_instances_spans_leave_all_the_time_and_each_in_its_own_trace() -> Result<()> {
    let mut stage = Stage::scripted(workers(4)).await?;
    stage.config.initialise_as(InitializationType::ManagedInstances { concurrency: 4 });
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = Vec::new();
    for round in 0..3 {
        let invoke = |n: u32| environment.invoke(json!({"n": n}).to_string(), None);
        let (a, b, c, d) = tokio::join!(invoke(1), invoke(2), invoke(3), invoke(4));
        answers.extend([a?, b?, c?, d?]);
        assert!(answers.iter().all(Answer::is_success), "{answers:?}");
        // A worker that is still at its last one would be one too few.
        environment.idle().await?;
        if round == 1 {
            // They leave by the second; the environment is not frozen, and nothing ends.
            stage.wait_for_spans(16).await?;
        }
    }
    let run = stage.end(environment, answers).await?;
    assert_eq!(run.accounts()["sent"], json!(24));
    let requests = stage.xray.requests().len();
    assert!((2..=6).contains(&requests), "not one for each of 12 invocations: {requests}");
    let traces = stage.traces();
    assert_eq!(traces.len(), 12);
    assert!(traces.iter().all(|trace| trace.find("app.handler").is_some() || trace.find("shop").is_some()));
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn smp_17_on_managed_instances_the_sampling_rules_are_asked_for_where_nothing_is_sent() -> Result<()> {
    let mut stage = Stage::scripted(workers(1)).await?;
    stage.config.initialise_as(InitializationType::ManagedInstances { concurrency: 1 });
    stage.set("OTEL_XRAY_SAMPLING", "rules");
    stage.xray.sampling().set_rules(&[json!({"RuleName": "never", "FixedRate": 0.0})]);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    stage.wait_for_request("/GetSamplingRules").await?;
    stage.end(environment, Vec::new()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn t_16_after_each_restore_spans_leave_with_the_credentials_of_then() -> Result<()> {
    let source = "import os\ndef handler(event, context):\n    if event == 'exit':\n        os._exit(1)\n";
    let mut stage = Stage::python(source).await?;
    stage.config.initialise_as(InitializationType::SnapStart);
    // What was read before the restore has expired, by its own words.
    stage.config.snapshot_age = Duration::from_hours(24);
    let run = stage.run(&[json!({}), json!({}), json!("exit"), json!({})]).await?;
    let accounts = run.all_accounts();
    assert_eq!(accounts.len(), 2, "one for each process");
    assert!(accounts.iter().all(|account| account["sent"] == account["received"]), "{:?}", run.lines);

    let requests = stage.xray.requests();
    let keys: Vec<&str> = requests.iter().filter_map(|request| request.access_key_id()).collect();
    let by_restore: Vec<_> = keys.chunk_by(|one, next| one == next).map(|same| same[0]).collect();
    assert_eq!(by_restore, ["AKIDEXAMPLE-1", "AKIDEXAMPLE-2"], "{keys:?}");
    let connections: BTreeSet<_> =
        requests.iter().map(|request| (request.peer, request.access_key_id())).collect();
    let peers: BTreeSet<_> = requests.iter().map(|request| request.peer).collect();
    assert_eq!(connections.len(), peers.len(), "none is used on after a restore: {connections:?}");
    let traces = stage.traces();
    let ids: Vec<&str> = traces.iter().flat_map(|trace| trace.nodes()).map(|node| node.id.as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique: {ids:?}");
    Ok(())
}
