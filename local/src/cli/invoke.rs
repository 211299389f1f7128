//! `otel-xray-local invoke`.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::CommandError;
use super::arguments::{Invoke, Runtime};
use super::explanation;
use super::faults;
use super::output::{
    Invoked, accounts, invocation_json, log_json, shutdown_json, write_invocation, write_lines,
};
use super::traces::{self, LambdaSegments};
use crate::lambda::{
    Config, Entry, InitFailure, LambdaEnvironment, Layer, LogMark, RuntimeKind, ShutdownReport, TraceHeader,
};

const EXEC_WRAPPER: &str = "AWS_LAMBDA_EXEC_WRAPPER";
const OPT: &str = "/opt/";
const WRAPPER: &str = "otel-instrument";
const XRAY_ENDPOINT: &str = "AWS_ENDPOINT_URL_XRAY";

/// Everything a run has brought to light.
struct Outcome {
    start: Vec<Entry>,
    invocations: Vec<Invoked>,
    end: Vec<Entry>,
    shutdown: ShutdownReport,
    init_failure: Option<InitFailure>,
}

/// Returns whether every invocation succeeded.
pub(super) async fn run(arguments: Invoke) -> Result<bool, CommandError> {
    let events = read_events(&arguments.event)?;
    check_function(&arguments.function)?;
    let layer = Layer::open(&arguments.layer)?;
    layer.check(wrapper(&arguments))?;
    let mut config = config(&arguments, &layer);
    // A configured endpoint takes the traces, and shows them.
    let mut local_xray = None;
    if !config.variables.contains_key(XRAY_ENDPOINT) {
        let endpoint = traces::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        config.variables.insert(XRAY_ENDPOINT.to_owned(), endpoint.url());
        let segments = LambdaSegments::new(endpoint.store());
        let written = segments.clone();
        config.on_segments = Some(Arc::new(move |documents| written.put(documents)));
        local_xray = Some((endpoint, segments));
    }
    let endpoint = local_xray.as_ref().map(|(endpoint, _)| endpoint);
    let arranged = faults::arrange(&arguments.fault, &mut config, endpoint, XRAY_ENDPOINT);
    let _lasting = arranged.map_err(CommandError::Fault)?;
    let outcome = invoke_all(&arguments, config, &events).await?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let mut report = as_json(&outcome);
        if let Some((endpoint, _)) = &local_xray {
            report["documents"] = json!(traces::documents(&endpoint.store()));
        }
        writeln!(out, "{report:#}")?;
    } else {
        write_text(&mut out, &outcome)?;
        if let Some((endpoint, _)) = &local_xray {
            traces::write(&mut out, &endpoint.store(), &arguments.show)?;
        }
        for account in all_accounts(&outcome) {
            writeln!(out, "\n{}", account.sentence())?;
        }
    }
    if let Some(refusal) = local_xray.and_then(|(_, segments)| segments.refusal()) {
        eprintln!("warning: Lambda's own segments are missing: {refusal}; correct the trace header");
    }
    if let Some(failure) = &outcome.init_failure {
        eprintln!("error: {}", explanation::of(failure, &arguments));
    }
    Ok(outcome.invocations.iter().all(|invoked| invoked.answer.is_success()))
}

/// Name and bytes of each event.
fn read_events(paths: &[PathBuf]) -> Result<Vec<(String, Vec<u8>)>, CommandError> {
    if paths.is_empty() {
        return Ok(vec![("{}".to_owned(), b"{}".to_vec())]);
    }
    let mut events = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let bytes =
            fs::read(path).map_err(|source| CommandError::EventUnreadable { path: name.clone(), source })?;
        serde_json::from_slice::<Value>(&bytes)
            .map_err(|source| CommandError::EventNotJson { path: name.clone(), source })?;
        events.push((name, bytes));
    }
    Ok(events)
}

fn check_function(path: &Path) -> Result<(), CommandError> {
    let problem = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "is not a directory".to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(CommandError::Function { path: path.display().to_string(), cause: problem })
}

/// The file of the layer that the function is to be started through.
fn wrapper(arguments: &Invoke) -> Option<&str> {
    let own = arguments.variables.iter().rev().find(|(name, _)| name == EXEC_WRAPPER);
    match own {
        Some((_, path)) => path.strip_prefix(OPT),
        None => (!arguments.no_wrapper).then_some(WRAPPER),
    }
}

fn config(arguments: &Invoke, layer: &Layer) -> Config {
    let runtime = match arguments.runtime {
        Runtime::Nodejs => RuntimeKind::node(&arguments.node, arguments.runtime_script.clone()),
        Runtime::Python => RuntimeKind::python(&arguments.python),
    };
    let mut config = Config::new(layer.directory(), runtime);
    config.task_dir.clone_from(&arguments.function);
    config.handler.clone_from(&arguments.handler);
    config.function_name.clone_from(&arguments.name);
    config.timeout = arguments.timeout;
    config.memory_mb = arguments.memory;
    config.tracing = arguments.tracing.into();
    config.telemetry = arguments.telemetry.into();
    config.initialise_as(arguments.kind.initialization_type());
    // On demand, the first event is waiting already: a cold start.
    config.freeze_after_init = arguments.kind.provisioned;
    if !arguments.no_wrapper {
        config.variables.insert(EXEC_WRAPPER.to_owned(), format!("{OPT}{WRAPPER}"));
    }
    // The extension's account of its spans is one of its info lines.
    config.variables.insert("OTEL_XRAY_LOG_LEVEL".to_owned(), "info".to_owned());
    config.variables.extend(arguments.variables.iter().cloned());
    config
}

async fn invoke_all(
    arguments: &Invoke,
    config: Config,
    events: &[(String, Vec<u8>)],
) -> Result<Outcome, CommandError> {
    let environment = Arc::new(LambdaEnvironment::start(config).await?);
    if let Some(note) = environment.note() {
        eprintln!("note: {note}");
    }
    let log = environment.event_log();
    let start = log.entries_since(LogMark::default());
    let init_failure = environment.init_report().failure.clone();
    let upstream = arguments.trace_header.as_deref().map(TraceHeader::parse);
    let mut invocations: Vec<Invoked> = Vec::new();
    let planned = (0..arguments.count).flat_map(|_| events);
    // A function that does not start fails the same way each time: once is enough.
    let planned: Vec<_> = planned.take(if init_failure.is_some() { 1 } else { usize::MAX }).collect();
    // A managed instance runs some at once; elsewhere each is alone.
    for together in planned.chunks(arguments.kind.instances.unwrap_or(1) as usize) {
        if !invocations.is_empty() {
            environment.sleep(Duration::from_millis(arguments.freeze_ms)).await?;
        }
        let mark = log.mark();
        let mut answers = Vec::new();
        for (_, bytes) in together {
            let (environment, bytes, upstream) = (environment.clone(), bytes.clone(), upstream.clone());
            answers.push(tokio::spawn(async move { environment.invoke(bytes, upstream).await }));
        }
        let mut ended = Vec::new();
        for ((name, _), answer) in together.iter().zip(answers) {
            ended.push((name, answer.await??));
        }
        environment.idle().await?;
        let reports = environment.invocation_reports();
        // Lines do not say whose they are: those of several invocations are shown with the first.
        let mut entries = log.entries_since(mark);
        for (name, answer) in ended {
            let report = reports.iter().find(|report| report.request_id == answer.request_id).cloned();
            let entries = std::mem::take(&mut entries);
            invocations.push(Invoked { event: name.clone(), answer, report, entries });
        }
    }
    let mark = log.mark();
    let shutdown = environment.shutdown().await?;
    let end = log.entries_since(mark);
    Ok(Outcome { start, invocations, end, shutdown, init_failure })
}

fn as_json(outcome: &Outcome) -> Value {
    json!({
        "start": {"log": log_json(&outcome.start)},
        "invocations": outcome.invocations.iter().map(invocation_json).collect::<Vec<_>>(),
        "shutdown": shutdown_json(&outcome.shutdown),
        "accounting": all_accounts(outcome),
        "end": {"log": log_json(&outcome.end)},
    })
}

fn all_accounts(outcome: &Outcome) -> Vec<super::accounting::Accounting> {
    let invocations = outcome.invocations.iter().flat_map(|invoked| &invoked.entries);
    let entries: Vec<Entry> = outcome.start.iter().chain(invocations).chain(&outcome.end).cloned().collect();
    accounts(&entries)
}

fn write_text(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
    write_lines(out, &outcome.start)?;
    for (index, invoked) in outcome.invocations.iter().enumerate() {
        write_invocation(out, index + 1, invoked)?;
    }
    write_lines(out, &outcome.end)?;
    for end in outcome.shutdown.extensions.iter().filter(|end| end.killed) {
        writeln!(out, "extension {} did not exit on SHUTDOWN and was killed", end.name)?;
    }
    Ok(())
}
