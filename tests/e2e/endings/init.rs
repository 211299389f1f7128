//! The function cannot be loaded, or its first invocation shows what loading took.

use super::{BOTH, Tracing, UPSTREAM, ends, stage};
use anyhow::Result;
use otel_xray_local::lambda::InitializationType;
use otel_xray_local::xray::{Node, Trace};
use otel_xray_tests::Stage;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_loaded_says_why() -> Result<()> {
    for (source, kind, message) in [
        ("import does_not_exist\n", "Runtime.ImportModuleError", "No module named 'does_not_exist'"),
        ("raise RuntimeError('no settings')\n", "RuntimeError", "no settings"),
        ("import sys\nsys.exit(3)\n", "SystemExit", "3"),
    ] {
        for tracing in BOTH {
            let ended = ends(source, tracing, &[json!({})], |_| {}).await?;
            let told = ended.traces.iter().flat_map(|trace| trace.nodes()).find(|node| {
                node.text("/cause/exceptions/0/type") == kind
                    && !node.text("/metadata/otel/span_name").is_empty()
                    || node.name() == "load app.handler"
            });
            let told = told.unwrap_or_else(|| panic!("{tracing:?} {source:?}: {}", ended.drawn()));
            assert!(told.flag("fault"));
            assert_eq!(told.text("/cause/exceptions/0/type"), kind, "{}", ended.drawn());
            assert!(told.text("/cause/exceptions/0/message").contains(message), "{told:?}");
            assert!(ended.drawn().contains(message), "{}", ended.drawn());
            assert_eq!(ended.traces.len(), 1, "{tracing:?} {source:?}: {}", ended.drawn());
            assert_eq!(tries(&ended.traces), 2, "{tracing:?} {source:?}: {}", ended.drawn());
            assert!(ended.traces.iter().all(|trace| trace.orphans.is_empty()));
            assert_eq!(ended.run.all_accounts()[0]["carried"], 1, "by the first process");
            assert_eq!(ended.run.all_accounts()[1]["restored"], 1, "by the second");
        }
    }
    Ok(())
}

/// How often the traces tell that loading the function failed, Lambda's own segments apart.
fn tries(traces: &[Trace]) -> usize {
    let nodes = traces.iter().flat_map(Trace::nodes);
    let tells = |node: &&Node| {
        let named = [node.name(), node.text("/metadata/otel/span_name")];
        named.contains(&"load app.handler") && node.flag("fault")
    };
    nodes.filter(tells).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn l_8_21_a_second_try_that_succeeds_has_the_first_in_its_trace() -> Result<()> {
    let source = "
import os
tried = os.path.join(os.environ['LAMBDA_TASK_ROOT'], 'tried')
if not os.path.exists(tried):
    open(tried, 'w').close()
    raise ConnectionError('no settings')
def handler(event, context):
    return event
";
    for tracing in BOTH {
        let stage = stage(source, tracing).await?;
        let upstream = (tracing == Tracing::PassThrough).then_some(UPSTREAM);
        let run = stage.run_with(&[json!(1), json!(2)], upstream).await?;
        let traces = stage.traces();
        assert_eq!(tries(&traces), 1, "{tracing:?}");
        // The try and the handler say so, in one trace.
        let is_cold = |node: &&Node| node.value("/annotations/faas.coldstart") == &json!(true);
        let colds = traces.iter().map(|trace| trace.nodes().into_iter().filter(is_cold).count());
        assert_eq!(colds.filter(|count| *count > 0).collect::<Vec<_>>(), [2], "{tracing:?}");
        // Under Active tracing each invocation has a trace of its own, else both have the caller's.
        assert_eq!(traces.len(), if tracing == Tracing::Active { 2 } else { 1 });
        assert!(traces.iter().all(|trace| trace.orphans.is_empty()));
        assert_eq!(run.seen_by_callers().len(), 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_initialisation_that_cannot_be_left_is_told_all_the_same() -> Result<()> {
    let off = |stage: &mut Stage| stage.set("OTEL_XRAY_SPOOL", "off");
    for tracing in BOTH {
        let ended = ends("raise RuntimeError('no settings')\n", tracing, &[json!({})], off).await?;
        assert_eq!(tries(&ended.traces), 2, "{tracing:?}: {}", ended.drawn());
        assert_eq!(ended.traces.len(), 2, "the first has one of its own: {}", ended.drawn());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_dies_while_it_loads_says_so() -> Result<()> {
    let source = "import ctypes\nctypes.string_at(0)\n";
    for tracing in BOTH {
        let ended = ends(source, tracing, &[json!({})], |_| {}).await?;
        let drawn = ended.drawn();
        assert!(
            // The signal itself is told where the process could still be seen.
            drawn.contains("Runtime.ExitError: ") && drawn.contains(", while the function was being loaded"),
            "{tracing:?}: {drawn}"
        );
        assert_eq!(ended.traces.len(), 1, "L-8.21, {tracing:?}: {drawn}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lam_2_lam_24_a_cold_start_shows_its_initialisation_once() -> Result<()> {
    for tracing in BOTH {
        let stage = stage("def handler(event, context):\n    return event\n", tracing).await?;
        let upstream = (tracing == Tracing::PassThrough).then_some(UPSTREAM);
        stage.run_with(&[json!(1), json!(2)], upstream).await?;
        let traces = stage.traces();
        let nodes: Vec<_> = traces.iter().flat_map(|trace| trace.nodes()).collect();
        let own: Vec<_> = nodes.iter().filter(|node| node.name() == "Initialization").collect();
        let lambdas: Vec<_> = nodes.iter().filter(|node| node.name() == "Init").collect();
        let cold: Vec<_> =
            nodes.iter().filter(|node| node.value("/annotations/faas.coldstart") == &json!(true)).collect();
        let expected = match tracing {
            Tracing::Active => (0, 1),
            Tracing::PassThrough => (1, 0),
        };
        assert_eq!((own.len(), lambdas.len()), expected, "{tracing:?}");
        assert_eq!(cold.len(), 1, "{tracing:?}");
        if let Some(own) = own.first() {
            assert_eq!(own.text("/parent_id"), cold[0].id);
            assert!(own.start_seconds() < cold[0].start_seconds());
            assert_eq!(own.text("/metadata/otel/initialization_type"), "on-demand");
        }
    }
    Ok(())
}

/// Names and kinds of what preceded the handlers, in the order of the traces.
async fn preludes(
    kind: InitializationType,
    source: &str,
    events: &[serde_json::Value],
) -> Result<Vec<(String, String)>> {
    let mut stage = stage(source, Tracing::PassThrough).await?;
    stage.config.initialization_type = kind;
    stage.run_with(events, Some(UPSTREAM)).await?;
    let traces = stage.traces();
    let nodes = traces.iter().flat_map(|trace| trace.nodes());
    let mut preludes: Vec<_> = nodes
        .filter(|node| matches!(node.name(), "Initialization" | "Restore"))
        .map(|node| {
            let kind = node.text("/metadata/otel/initialization_type").to_owned();
            (node.start_seconds(), (node.name().to_owned(), kind))
        })
        .collect();
    preludes.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok(preludes.into_iter().map(|(_, prelude)| prelude).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn l_8_21_l_8_23_every_kind_of_beginning_is_in_the_trace_that_paid_for_it() -> Result<()> {
    let plain = "def handler(event, context):\n    return event\n";
    let named = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    let provisioned =
        preludes(InitializationType::ProvisionedConcurrency, plain, &[json!(1), json!(2)]).await?;
    assert_eq!(provisioned, [named("Initialization", "provisioned-concurrency")]);
    // Its records are buffered: they come while the first invocation runs, or after it.
    let slow = "import time\ndef handler(event, context):\n    time.sleep(0.3)\n    return event\n";
    for source in [slow, plain] {
        let restored = preludes(InitializationType::SnapStart, source, &[json!(1), json!(2)]).await?;
        assert_eq!(restored, [named("Restore", "snap-start")], "{source}");
    }
    let dies = "import os\ndef handler(event, context):\n    if event == 1:\n        os._exit(1)\n    return event\n";
    let again = preludes(InitializationType::OnDemand, dies, &[json!(1), json!(2), json!(3)]).await?;
    assert_eq!(again, [named("Initialization", "on-demand"), named("Initialization", "on-demand")]);
    Ok(())
}
