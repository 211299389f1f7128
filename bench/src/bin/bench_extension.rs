//! Start-up, memory and tail of extension binaries, interleaved in one run.
//!
//! `bench-extension [--runs N] [--json FILE] NAME=PATH...`; a name that begins with `bare` is only started.

use anyhow::{Context as _, Result};
use otel_xray_bench::agent::{Agent, TRACE_HEADER};
use otel_xray_bench::platform::{NEXT, Platform, XRay};
use otel_xray_bench::{extension, median, process};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// Invocations of one process; the tail is taken from the last ones, when everything is warm.
const INVOCATIONS: usize = 12;
const WARM_FROM: usize = 4;
const CALLS: u8 = 9;

#[derive(Debug, Default)]
struct Readings {
    next_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    rss_idle_mb: Vec<f64>,
    rss_flushed_mb: Vec<f64>,
    first_tail_ms: Vec<f64>,
    tail_ms: Vec<f64>,
    /// From an event of which nothing will be sent to the next `next`.
    nothing_ms: Vec<f64>,
    requests_per_invocation: Vec<f64>,
}

struct Candidate {
    name: String,
    path: PathBuf,
    readings: Readings,
}

fn main() -> Result<()> {
    let mut runs = 20_usize;
    let mut json_file = None;
    let mut candidates = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().context("--runs needs a number")?.parse()?,
            "--json" => json_file = Some(arguments.next().context("--json needs a file")?),
            pair => {
                let (name, path) = pair.split_once('=').context("give NAME=PATH for each binary")?;
                candidates.push(Candidate {
                    name: name.into(),
                    path: path.into(),
                    readings: Readings::default(),
                });
            }
        }
    }
    anyhow::ensure!(!candidates.is_empty(), "give NAME=PATH for each binary to measure");
    for run in 0..runs {
        for candidate in &mut candidates {
            let socket = format!("otel-xray-bench-{}-{run}", std::process::id());
            measure(candidate, &socket).with_context(|| format!("{} in run {run}", candidate.name))?;
        }
    }
    let rows: Vec<Value> = candidates.iter_mut().map(|candidate| row(candidate, runs)).collect();
    print_table(&rows);
    if let Some(file) = json_file {
        std::fs::write(file, format!("{:#}\n", Value::Array(rows)))?;
    }
    Ok(())
}

fn measure(candidate: &mut Candidate, socket: &str) -> Result<()> {
    let platform = Platform::start()?;
    let xray = XRay::start()?;
    let begin = Instant::now();
    let url = format!("http://{}", xray.address);
    let mut child = extension::start(&candidate.path, &platform, &url, socket, &[])?;
    let result = observe(candidate, socket, &platform, &xray, &child, begin);
    extension::end(&platform, &mut child);
    result
}

fn observe(
    candidate: &mut Candidate,
    socket: &str,
    platform: &Platform,
    xray: &XRay,
    child: &Child,
    begin: Instant,
) -> Result<()> {
    let readings = &mut candidate.readings;
    let next = platform.wait_for(NEXT)?;
    readings.next_ms.push(milliseconds(next - begin));
    // The request is on the wire a moment before the process sleeps again.
    std::thread::sleep(Duration::from_millis(20));
    readings.cpu_ms.push(process::cpu_ms(child)?);
    readings.rss_idle_mb.push(process::rss_mb(child)?);
    if candidate.name.starts_with("bare") {
        return Ok(());
    }
    let mut agent = Agent::connect(socket)?;
    std::thread::sleep(Duration::from_millis(30));
    for number in 0..INVOCATIONS {
        let request_id = format!("request-{number}");
        platform.send(&extension::invoke(&request_id, TRACE_HEADER)?)?;
        std::thread::sleep(Duration::from_millis(5));
        let done = Instant::now();
        agent.invocation(&request_id, CALLS)?;
        let tail_ms = milliseconds(platform.wait_for(NEXT)? - done);
        let requests = xray.seen.try_iter().count();
        readings.requests_per_invocation.push(requests as f64);
        match number {
            0 => readings.first_tail_ms.push(tail_ms),
            WARM_FROM.. => readings.tail_ms.push(tail_ms),
            _ => {}
        }
    }
    readings.rss_flushed_mb.push(process::rss_mb(child)?);
    let unsampled = TRACE_HEADER.replace("Sampled=1", "Sampled=0");
    for number in INVOCATIONS..2 * INVOCATIONS {
        let event = extension::invoke(&format!("request-{number}"), &unsampled)?;
        std::thread::sleep(Duration::from_millis(5));
        let begin = Instant::now();
        platform.send(&event)?;
        readings.nothing_ms.push(milliseconds(platform.wait_for(NEXT)? - begin));
    }
    anyhow::ensure!(xray.seen.try_iter().count() == 0, "nothing was to be sent");
    Ok(())
}

fn row(candidate: &mut Candidate, runs: usize) -> Value {
    let readings = &mut candidate.readings;
    let bytes = std::fs::metadata(&candidate.path).map_or(0, |file| file.len());
    json!({
        "name": candidate.name,
        "runs": runs,
        "binary_mb": bytes as f64 / 1e6,
        "next_ms": median(&mut readings.next_ms),
        "cpu_ms": median(&mut readings.cpu_ms),
        "rss_idle_mb": median(&mut readings.rss_idle_mb),
        "rss_flushed_mb": median(&mut readings.rss_flushed_mb),
        "first_tail_ms": median(&mut readings.first_tail_ms),
        "tail_ms": median(&mut readings.tail_ms),
        "nothing_ms": median(&mut readings.nothing_ms),
        "requests_per_invocation": median(&mut readings.requests_per_invocation),
    })
}

fn print_table(rows: &[Value]) {
    let columns = [
        ("binary_mb", "binary MB"),
        ("next_ms", "spawn to next ms"),
        ("cpu_ms", "CPU ms"),
        ("rss_idle_mb", "RSS idle MB"),
        ("rss_flushed_mb", "RSS flushed MB"),
        ("first_tail_ms", "first tail ms"),
        ("tail_ms", "tail ms"),
        ("nothing_ms", "nothing to send ms"),
        ("requests_per_invocation", "requests"),
    ];
    let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    println!("{:<24} {}", "", heads.join("  "));
    for row in rows {
        let cells: Vec<String> = columns
            .iter()
            .map(|(key, head)| match row[*key].as_f64() {
                Some(value) => format!("{value:>width$.2}", width = head.len()),
                None => format!("{:>width$}", "", width = head.len()),
            })
            .collect();
        println!("{:<24} {}", row["name"].as_str().unwrap_or_default(), cells.join("  "));
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
