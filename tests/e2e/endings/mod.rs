//! Every bad ending leaves a trace that says why, and changes nothing for the caller (P1, P5).

mod crash;
mod init;
mod timeout;
mod xray;

use anyhow::{Context as _, Result};
use otel_xray_local::view::{Style, render_trace};
use otel_xray_local::xray::{Node, Trace};
use otel_xray_tests::{Run, Stage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A caller that has sampled: under `PassThrough` Lambda decides nothing itself (LAM-6).
const UPSTREAM: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracing {
    Active,
    PassThrough,
}

const BOTH: [Tracing; 2] = [Tracing::Active, Tracing::PassThrough];

/// What one function did with the layer, traced one way.
struct Ended {
    tracing: Tracing,
    traces: Vec<Trace>,
    run: Run,
    function: String,
}

/// A function with this source. Further settings are for the caller.
async fn stage(source: &str, tracing: Tracing) -> Result<Stage> {
    let mut stage = Stage::python(source).await?;
    match tracing {
        Tracing::Active => stage.set("OTEL_XRAY_TRACING_MODE", "active"),
        Tracing::PassThrough => {
            stage.pass_through();
            stage.set("OTEL_XRAY_TRACING_MODE", "pass-through");
        }
    }
    Ok(stage)
}

/// Invokes with and without the layer, and sees to it that callers cannot tell which it was.
async fn ends(source: &str, tracing: Tracing, events: &[Value], set: impl Fn(&mut Stage)) -> Result<Ended> {
    let mut with = stage(source, tracing).await?;
    set(&mut with);
    let upstream = (tracing == Tracing::PassThrough).then_some(UPSTREAM);
    let run = with.run_with(events, upstream).await?;

    let empty = TempDir::new()?;
    let mut alone = stage(source, tracing).await?;
    set(&mut alone);
    alone.without_layer(empty.path());
    alone.config.task_dir.clone_from(&with.config.task_dir);
    let plain = alone.run_with(events, upstream).await?;
    assert_eq!(run.seen_by_callers(), plain.seen_by_callers(), "callers see no difference");
    let function = with.config.function_name.clone();
    Ok(Ended { tracing, traces: with.traces(), run, function })
}

impl Ended {
    /// The node that speaks for the handler: below Lambda's own segment, or the function's own segment itself.
    fn handler(&self) -> Result<&Node> {
        let name = match self.tracing {
            Tracing::Active => "app.handler",
            Tracing::PassThrough => &self.function,
        };
        let found = self.traces.iter().find_map(|trace| trace.find(name));
        found.with_context(|| format!("{:?}: no {name} in {:?}", self.tracing, self.traces))
    }

    fn find(&self, name: &str) -> Result<&Node> {
        let found = self.traces.iter().find_map(|trace| trace.find(name));
        found.with_context(|| format!("{:?}: no {name} in {:?}", self.tracing, self.traces))
    }

    /// What a terminal shows.
    fn drawn(&self) -> String {
        let style = Style { width: 200, ..Style::default() };
        self.traces.iter().map(|trace| render_trace(trace, &style)).collect()
    }

    /// The handler's node is a fault for this reason, and so it reads in a terminal.
    fn assert_fault(&self, kind: &str, message: &str) -> Result<&Node> {
        let handler = self.handler()?;
        let seen = (handler.text("/cause/exceptions/0/type"), handler.text("/cause/exceptions/0/message"));
        assert!(handler.flag("fault"), "{:?}: {handler:?}", self.tracing);
        assert_eq!(seen.0, kind, "{:?}: {seen:?}", self.tracing);
        assert!(seen.1.contains(message), "{:?}: {seen:?}", self.tracing);
        assert!(handler.end_seconds().is_some(), "nothing runs for ever: {handler:?}");
        let drawn = self.drawn();
        assert!(drawn.contains(&format!("{kind}: {}", seen.1)), "{drawn}");
        assert!(self.traces.iter().all(|trace| trace.orphans.is_empty()), "{drawn}");
        Ok(handler)
    }
}

fn how(how: &str) -> Value {
    json!({"how": how})
}
