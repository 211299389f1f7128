//! The runtime's process dies in the middle of an invocation.

use super::{BOTH, ends, how};
use anyhow::Result;
use serde_json::json;

const FUNCTION: &str = r#"
import ctypes, os, signal, sys

def handler(event, context):
    how = event["how"]
    if how == "exit":
        os._exit(1)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "memory":
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1024)) * 4096)
    elif how == "sys.exit":
        sys.exit(3)
    elif how == "raise":
        raise LookupError("no such order")
    return how
"#;

/// What is told where the process had left nothing to look at by the time the extension looked.
const NOT_SEEN: &str = "the runtime exited before this was finished";

/// The function dies in this way, and the trace says how, or at the least that it did.
async fn dies(way: &str, says: &str) -> Result<()> {
    for tracing in BOTH {
        let ended = ends(FUNCTION, tracing, &[how(way)], |_| {}).await?;
        let message = ended.handler()?.text("/cause/exceptions/0/message");
        ended.assert_fault("Runtime.ExitError", if message == NOT_SEEN { NOT_SEEN } else { says })?;
        assert_eq!(ended.run.seen_by_callers()[0].0.as_deref(), Some("Runtime.ExitError"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_status_is_told() -> Result<()> {
    dies("exit", "exit status 1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segmentation_fault_is_told() -> Result<()> {
    dies("segfault", "signal 11, SIGSEGV").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_told() -> Result<()> {
    dies("kill", "signal 9").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_limit_is_told() -> Result<()> {
    for tracing in BOTH {
        let ended = ends(FUNCTION, tracing, &[how("memory")], |stage| stage.config.memory_mb = 160).await?;
        ended.assert_fault("Runtime.OutOfMemory", ", out of memory: 160 of 160 MB used")?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_told_with_its_place() -> Result<()> {
    for tracing in BOTH {
        let ended = ends(FUNCTION, tracing, &[how("raise")], |_| {}).await?;
        let handler = ended.assert_fault("LookupError", "no such order")?;
        assert_eq!(handler.text("/cause/exceptions/0/stack/0/label"), "handler");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sys_exit_is_told_with_its_place() -> Result<()> {
    for tracing in BOTH {
        let ended = ends(FUNCTION, tracing, &[how("sys.exit")], |_| {}).await?;
        let handler = ended.assert_fault("SystemExit", "3")?;
        assert_eq!(handler.text("/cause/exceptions/0/stack/0/label"), "handler");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn l_8_21_after_a_crash_the_next_invocation_is_traced_as_ever() -> Result<()> {
    for tracing in BOTH {
        let ended = ends(FUNCTION, tracing, &[how("return"), how("exit"), how("return")], |_| {}).await?;
        let outcomes: Vec<bool> =
            ended.run.answers.iter().map(otel_xray_local::lambda::Answer::is_success).collect();
        assert_eq!(outcomes, [true, false, true]);
        let handlers: usize = ended
            .traces
            .iter()
            .flat_map(|trace| trace.nodes())
            .filter(|node| node.value("/annotations/faas.invocation_id") != &json!(null))
            .count();
        assert_eq!(handlers, 3, "{tracing:?}: {}", ended.drawn());
    }
    Ok(())
}
