//! Thousands of invocations with chance freezes, faults and endings: the accounts balance, and neither memory nor
//! descriptors grow (T-15). `OTEL_XRAY_SOAK` is the number of invocations, `OTEL_XRAY_SOAK_SEED` what chance begins with.

use anyhow::{Context as _, Result};
use otel_xray_local::lambda::{
    Event, LambdaEnvironment, Origin, RuntimeClient, RuntimeEvent, ScriptedRuntime,
};
use otel_xray_local::xray::Fault;
use otel_xray_tests::{Agent, Stage};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);
/// Faults without outages: what waits in an outage is memory well used, and is bounded elsewhere.
fn small_fault(chance: Chance, request: u64) -> Option<Fault> {
    fault(chance, request).filter(|fault| !matches!(fault, Fault::Hang | Fault::Status(503, _)))
}

/// What T-15 allows.
const MAX_DESCRIPTORS: usize = 64;
/// Past a process's first hundred invocations.
const MAX_GROWTH_KB: u64 = 1500;
const WARM: u64 = 100;

/// Chance that is the same for the same seed.
#[derive(Debug, Clone, Copy)]
struct Chance(u64);

impl Chance {
    /// Of a thousand.
    fn of(self, number: u64, what: &str) -> u64 {
        let mut mixed = self.0 ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in what.bytes() {
            mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            mixed ^= mixed >> 29;
        }
        mixed % 1000
    }
}

/// How an invocation ends, by its payload.
fn ending(chance: Chance, number: u64) -> &'static str {
    match chance.of(number, "ending") {
        0..4 => "exit",
        4..8 => "hang",
        8..12 => "hang in a call",
        12..60 => "fail",
        60..80 => "silent",
        _ => "well",
    }
}

fn fault(chance: Chance, request: u64) -> Option<Fault> {
    // For whole stretches nothing works, so that things are left behind.
    if chance.of(request / 10, "outage") < 60 {
        return Some(Fault::Status(503, "ServiceUnavailable"));
    }
    match chance.of(request, "fault") {
        0..20 => Some(Fault::Status(429, "ThrottledException")),
        20..40 => Some(Fault::Reset),
        40..60 => Some(Fault::Close),
        60..80 => Some(Fault::Delay(Duration::from_millis(5))),
        80..82 => Some(Fault::Hang),
        _ => None,
    }
}

fn runtime() -> ScriptedRuntime {
    ScriptedRuntime::new(|client| async move { run(client).await.unwrap_or(1) })
}

async fn run(client: RuntimeClient) -> Result<i32> {
    let mut agent = Agent::connect(client.api.port())?;
    loop {
        let event = client.next().await?;
        if let Some(status) = handle(&client, &mut agent, &event).await? {
            return Ok(status);
        }
    }
}

/// The status the runtime exits with, where it does.
async fn handle(client: &RuntimeClient, agent: &mut Agent, event: &RuntimeEvent) -> Result<Option<i32>> {
    let ending = &event.payload[..];
    if ending == b"silent" {
        client.respond(&event.request_id, "").await?;
        return Ok(None);
    }
    let handler = agent.enter(event)?;
    for _ in 0..3 {
        agent.call(&handler)?;
    }
    match ending {
        b"exit" => return Ok(Some(7)),
        b"hang" => std::future::pending().await,
        b"hang in a call" => {
            agent.begin_call(&handler)?;
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    agent.end(handler)?;
    agent.done(&event.request_id)?;
    if ending == b"fail" {
        client.fail(&event.request_id, "ValueError", "by chance", None).await?;
    } else {
        client.respond(&event.request_id, "").await?;
    }
    Ok(None)
}

/// The extension's process now, with its resident memory in kB and its descriptors.
fn look(environment: &LambdaEnvironment) -> Result<(u32, u64, usize)> {
    let entries = environment.event_log().entries();
    let started = entries.iter().rev().find_map(|entry| match entry.event {
        Event::ProcessStarted { origin: Origin::Extension(_), pid } => Some(pid),
        _ => None,
    });
    let pid = started.context("no extension was started")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let rss_kb = line.trim().trim_end_matches(" kB").parse()?;
    Ok((pid, rss_kb, std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn t_15_the_accounts_balance_and_nothing_grows() -> Result<()> {
    let invocations = number("OTEL_XRAY_SOAK", 300);
    let chance = Chance(number("OTEL_XRAY_SOAK_SEED", 1));
    let mut stage = Stage::scripted(runtime()).await?;
    stage.config.timeout = TIMEOUT;
    stage.set("OTEL_XRAY_FLUSH_TIMEOUT_MS", "100");
    stage.xray.faults().choose(move |request| fault(chance, request));
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = Vec::new();
    // The first half with endings of every kind; the second in one process, to see what grows.
    for number in 0..invocations / 2 {
        let ending = ending(chance, number);
        let answer = environment.invoke(ending, None).await?;
        assert_eq!(answer.is_success(), matches!(ending, "well" | "silent"), "{number}: {ending}");
        environment.idle().await?;
        if chance.of(number, "freeze") < 20 {
            environment.sleep(Duration::from_millis(30)).await?;
        }
        answers.push(answer);
    }
    stage.xray.faults().choose(move |request| small_fault(chance, request));
    let mut first = None;
    for number in 0..invocations / 2 {
        answers.push(environment.invoke("well", None).await?);
        environment.idle().await?;
        if number == WARM {
            first = Some(look(&environment)?);
        }
        if number > WARM && number % 1000 == 0 {
            println!("{number}: {:?}", look(&environment)?);
        }
    }
    if let Some((pid, rss_kb, descriptors)) = first {
        let (same, after_kb, after) = look(&environment)?;
        assert_eq!(same, pid, "the extension was started again");
        println!(
            "{invocations} invocations: {rss_kb} to {after_kb} kB, {descriptors} to {after} descriptors"
        );
        assert!(after < MAX_DESCRIPTORS, "{after} descriptors");
        assert!(after_kb <= rss_kb + MAX_GROWTH_KB, "memory grew from {rss_kb} to {after_kb} kB");
    }
    stage.xray.faults().clear();
    let run = stage.end(environment, answers).await?;
    // Each process's own books balance: that is checked where they are read. Together they lose nothing.
    let accounts = run.all_accounts();
    let sum = |field: &str| accounts.iter().filter_map(|account| account[field].as_u64()).sum::<u64>();
    let restored: u64 = sum("restored");
    println!(
        "{} processes: {} received, {} sent, {} left, {restored} taken over",
        accounts.len(),
        sum("received"),
        sum("sent"),
        sum("carried")
    );
    assert_eq!(sum("carried"), restored, "whatever a process left, the next one took over");
    let dropped: Vec<_> = accounts.iter().map(|account| &account["dropped"]).collect();
    assert_eq!(sum("received"), sum("sent"), "nothing was lost: {dropped:?}");
    assert_eq!(stage.spans_arrived() as u64, sum("sent"));
    Ok(())
}
