//! What an invocation waits for at its end while a far end fails: the tail after the response.
//!
//! `bench-failing [--runs N] [--json FILE] PATH`

use anyhow::{Context as _, Result};
use otel_xray_bench::agent::{Agent, TRACE_HEADER};
use otel_xray_bench::platform::{Failing, NEXT, Platform, XRay};
use otel_xray_bench::{extension, median};
use serde_json::{Map, Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

const INVOCATIONS: usize = 25;
/// The first two may find out.
const FAILING_FROM: usize = 2;
const CALLS: u8 = 9;

/// What fails, and how.
const CASES: [(&str, Outlets, Failing); 5] = [
    ("503", Outlets::Xray, Failing::Status(503)),
    ("429", Outlets::Xray, Failing::Status(429)),
    ("reset", Outlets::Xray, Failing::Reset),
    ("refused", Outlets::Xray, Failing::Refuses),
    ("otlp refused beside X-Ray", Outlets::Otlp, Failing::Refuses),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlets {
    Xray,
    /// A healthy X-Ray, and a collector that fails.
    Otlp,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names end with their unit")]
struct Readings {
    tail_ms: Vec<f64>,
    worst_ms: Vec<f64>,
    total_ms: Vec<f64>,
}

fn main() -> Result<()> {
    let (mut runs, mut json_file, mut path) = (5_usize, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().context("--runs needs a number")?.parse()?,
            "--json" => json_file = Some(arguments.next().context("--json needs a file")?),
            _ => path = Some(argument),
        }
    }
    let path = path.context("give the PATH of the extension")?;
    let mut cases = Map::new();
    for (name, outlets, failing) in CASES {
        let mut readings = Readings::default();
        for run in 0..runs {
            measure(Path::new(&path), run, outlets, failing, &mut readings)
                .with_context(|| format!("{name} in run {run}"))?;
        }
        let row = json!({
            "tail_ms": median(&mut readings.tail_ms),
            "worst_ms": median(&mut readings.worst_ms),
            "total_ms": median(&mut readings.total_ms),
        });
        println!("tail while it fails, {name}: {row}");
        cases.insert(name.to_owned(), row);
    }
    if let Some(file) = json_file {
        let result: Value = json!({"runs": runs, "invocations": INVOCATIONS, "cases": cases});
        std::fs::write(file, format!("{result:#}\n"))?;
    }
    Ok(())
}

fn measure(
    path: &Path,
    run: usize,
    outlets: Outlets,
    failing: Failing,
    readings: &mut Readings,
) -> Result<()> {
    let platform = Platform::start()?;
    let healthy = XRay::start()?;
    let address = match failing {
        // Nobody listens there any more.
        Failing::Refuses => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?,
        failing => XRay::failing(failing)?.address,
    };
    let failing = format!("http://{address}");
    let (xray, variables) = match outlets {
        Outlets::Xray => (failing, vec![]),
        Outlets::Otlp => (
            format!("http://{}", healthy.address),
            vec![("OTEL_XRAY_OUTLETS", "xray,otlp".to_owned()), ("OTEL_EXPORTER_OTLP_ENDPOINT", failing)],
        ),
    };
    let variables: Vec<_> = variables
        .into_iter()
        .chain([("OTEL_XRAY_SPOOL", "off".to_owned()), ("OTEL_XRAY_LOG_LEVEL", "off".to_owned())])
        .collect();
    let socket = format!("otel-xray-bench-failing-{}-{run}", std::process::id());
    let mut child = extension::start(path, &platform, &xray, &socket, &variables)?;
    let result = observe(&socket, &platform, readings);
    extension::end(&platform, &mut child);
    result
}

fn observe(socket: &str, platform: &Platform, readings: &mut Readings) -> Result<()> {
    platform.wait_for(NEXT)?;
    let mut agent = Agent::connect(socket)?;
    std::thread::sleep(Duration::from_millis(30));
    let (mut worst, mut total) = (0_f64, 0.0);
    for number in 0..INVOCATIONS {
        let request_id = format!("request-{number}");
        platform.send(&extension::invoke(&request_id, TRACE_HEADER)?)?;
        std::thread::sleep(Duration::from_millis(20));
        let done = Instant::now();
        agent.invocation(&request_id, CALLS)?;
        let tail = (platform.wait_for(NEXT)? - done).as_secs_f64() * 1000.0;
        total += tail;
        if number >= FAILING_FROM {
            readings.tail_ms.push(tail);
            worst = worst.max(tail);
        }
    }
    readings.worst_ms.push(worst);
    readings.total_ms.push(total);
    Ok(())
}
