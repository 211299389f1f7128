//! What is printed: text for people, one JSON object for programs.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::accounting::Accounting;
use crate::lambda::{Answer, Entry, Event, InvocationReport, Origin, ShutdownReport};

/// One finished invocation with the log entries of its time.
#[derive(Debug)]
pub(super) struct Invoked {
    pub(super) event: String,
    pub(super) answer: Answer,
    pub(super) report: Option<InvocationReport>,
    pub(super) entries: Vec<Entry>,
}

/// The lines of a function or an extension; several accounts of one shutdown are one line each.
fn lines(entries: &[Entry]) -> impl Iterator<Item = (&Origin, &str)> {
    entries.iter().filter_map(|entry| match &entry.event {
        Event::Line { origin, text, .. } if Accounting::parse(text).is_none() => {
            Some((origin, text.as_str()))
        }
        _ => None,
    })
}

pub(super) fn accounts(entries: &[Entry]) -> Vec<Accounting> {
    let lines = entries.iter().filter_map(|entry| match &entry.event {
        Event::Line { text, .. } => Some(text.as_str()),
        _ => None,
    });
    lines.filter_map(Accounting::parse).collect()
}

/// Log lines, indented; the Python runtime client separates the lines of an error by carriage returns.
pub(super) fn write_lines(out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
    for (origin, text) in lines(entries) {
        let label = if *origin == Origin::Runtime { String::new() } else { format!("[{origin}] ") };
        for line in text.split('\r') {
            writeln!(out, "    {label}{}", line.replace('\u{a0}', " "))?;
        }
    }
    Ok(())
}

pub(super) fn write_invocation(out: &mut impl Write, number: usize, invoked: &Invoked) -> io::Result<()> {
    let Invoked { event, answer, report, entries } = invoked;
    write!(out, "invocation {number}  {}  {event}", answer.request_id)?;
    if let Some(report) = report {
        let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
        write!(out, "  {:.1} ms", ms(report.duration))?;
        if let Some(overhead) = report.extension_overhead {
            write!(out, ", {:.1} ms of it after the answer", ms(overhead))?;
        }
        if let Some(init) = report.init_duration {
            write!(out, ", after {:.0} ms of init", ms(init))?;
        }
    }
    writeln!(out)?;
    write_lines(out, entries)?;
    let word = if answer.is_success() { "answer" } else { "FAILED" };
    writeln!(out, "  {word}  {}", String::from_utf8_lossy(&answer.payload))?;
    if let Some(reset) = report.as_ref().and_then(|report| report.reset.as_ref()) {
        writeln!(out, "  the environment was reset: {reset}")?;
    }
    Ok(())
}

pub(super) fn invocation_json(invoked: &Invoked) -> Value {
    let Invoked { event, answer, report, entries } = invoked;
    let payload = serde_json::from_slice(&answer.payload)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&answer.payload).into_owned()));
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
    json!({
        "requestId": answer.request_id,
        "event": event,
        "status": if answer.is_success() { "success" } else { "error" },
        "errorType": answer.error.as_ref().map(|error| &error.error_type),
        "payload": payload,
        "traceHeader": answer.runtime_trace_header,
        "durationMs": report.as_ref().map(|report| ms(report.duration)),
        "extensionOverheadMs": report.as_ref().and_then(|report| report.extension_overhead).map(ms),
        "initDurationMs": report.as_ref().and_then(|report| report.init_duration).map(ms),
        "restoreDurationMs": report.as_ref().and_then(|report| report.restore_duration).map(ms),
        "maxMemoryUsedMB": report.as_ref().map(|report| report.max_memory_used_mb),
        "reset": report.as_ref().and_then(|report| report.reset.as_ref()),
        "log": log_json(entries),
    })
}

pub(super) fn log_json(entries: &[Entry]) -> Vec<Value> {
    lines(entries).map(|(origin, text)| json!({"origin": origin.to_string(), "text": text})).collect()
}

pub(super) fn shutdown_json(report: &ShutdownReport) -> Value {
    let extensions: Vec<Value> = report
        .extensions
        .iter()
        .map(|end| {
            json!({
                "name": end.name,
                "exit": end.exit.to_string(),
                "killed": end.killed,
                "timeToExitMs": end.time_to_exit.as_secs_f64() * 1_000.0,
            })
        })
        .collect();
    json!({"reason": report.reason.as_str(), "extensions": extensions})
}
