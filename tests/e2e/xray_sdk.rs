//! Functions that carry the X-Ray SDK: its subsegments and the agent's spans in one trace, under the right parents.

use crate::main_job::server;
use anyhow::Result;
use otel_xray_local::xray::Node;
use otel_xray_tests::Stage;
use serde_json::json;

const SUBSEGMENT: &str = include_str!("../functions/python-xray-sdk/subsegment.py");
const S3: &str = include_str!("../functions/python-xray-sdk/s3.py");

const BOTH: &str = r#"
import urllib.request
from aws_xray_sdk.core import xray_recorder

def handler(event, context):
    with xray_recorder.in_subsegment("outer"):
        urllib.request.urlopen(event["url"]).read()
        with xray_recorder.in_subsegment("inner"):
            pass
    if event.get("fail"):
        raise ValueError("no such order")
"#;

/// What the function has opened: without the initialisation, which the extension shows below a segment of its own.
fn opened_in(handler: &Node) -> Vec<&Node> {
    handler.children.iter().filter(|child| child.name() != "Initialization").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn row_11_a_subsegment_with_annotation_metadata_and_exception_hangs_under_the_handler() -> Result<()> {
    for pass_through in [false, true] {
        let mut stage = Stage::python(SUBSEGMENT).await?;
        let mut upstream = None;
        stage.set("OTEL_XRAY_TRACING_MODE", if pass_through { "passthrough" } else { "active" });
        if pass_through {
            stage.pass_through();
            upstream = Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
        }
        let run = stage.run_with(&[json!({"id": "o-1", "items": ["broken"]})], upstream).await?;
        let traces = stage.traces();
        assert_eq!(traces.len(), 1);
        assert_eq!(traces[0].orphans, [], "everything hangs where it belongs");
        let handler = if pass_through {
            &traces[0].roots[0]
        } else {
            traces[0].find("app.handler").expect("the handler's span")
        };
        let opened = opened_in(handler);
        assert_eq!(opened.iter().map(|child| child.name()).collect::<Vec<_>>(), ["price", "pack"]);
        let (price, pack) = (opened[0], opened[1]);
        assert_eq!(price.value("/annotations/order_id"), "o-1");
        assert_eq!(price.value("/metadata/shop/order/items/0"), "broken");
        assert!(pack.flag("fault"));
        assert_eq!(pack.value("/cause/exceptions/0/message"), "broken is out of stock");
        assert!(!handler.flag("fault"), "the function has caught it");
        assert_eq!(run.accounts()["sent"], 3);
        assert_eq!(run.complaints(), Vec::<&String>::new());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_27_a_call_to_s3_with_everything_patched_is_one_subsegment() -> Result<()> {
    let mut stage = Stage::python(S3).await?;
    stage.set("OTEL_XRAY_TRACING_MODE", "active");
    let (url, heads) = server().await?;
    stage.set("AWS_ENDPOINT_URL_S3", url.split("/v1/").next().unwrap_or_default());
    stage.set("ORDERS_BUCKET", "orders");
    let run = stage.run(&[json!({"key": "o-1"})]).await?;
    assert!(run.answers[0].is_success(), "{:?}", run.function_lines);
    let traces = stage.traces();
    assert_eq!(traces[0].orphans, []);
    let handler = traces[0].find("app.handler").expect("the handler's span");
    assert_eq!(handler.children.len(), 1, "{:?}", run.lines);
    let s3 = &handler.children[0];
    assert_eq!((s3.name(), s3.text("/namespace")), ("s3", "aws"));
    assert_eq!((s3.text("/aws/operation"), s3.text("/aws/bucket_name")), ("GetObject", "orders"));
    let head = heads.lock().expect("no test panics while it holds this")[0].to_ascii_lowercase();
    assert!(
        head.contains(&format!("x-amzn-trace-id: root={};parent={};sampled=1", traces[0].id, s3.id)),
        "{head}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_15_spans_and_subsegments_nest_both_ways_sampled_or_kept() -> Result<()> {
    let (url, _) = server().await?;
    for kept in [false, true] {
        let mut stage = Stage::python(BOTH).await?;
        stage.set("OTEL_XRAY_TRACING_MODE", if kept { "passthrough" } else { "active" });
        if kept {
            stage.pass_through();
            stage.set("OTEL_XRAY_SAMPLING", "respect");
            stage.set("OTEL_XRAY_KEEP", "errors");
        }
        stage.run(&[json!({"url": url, "fail": true})]).await?;
        let traces = stage.traces();
        assert_eq!(traces.len(), 1, "kept: {kept}");
        assert_eq!(traces[0].orphans, [], "kept: {kept}");
        let outer = traces[0].find("outer").expect("the subsegment");
        let names: Vec<&str> = outer.children.iter().map(Node::name).collect();
        assert_eq!(names, ["127.0.0.1", "inner"], "kept: {kept}");
        let handler = if kept {
            &traces[0].roots[0]
        } else {
            traces[0].find("app.handler").expect("the handler's span")
        };
        assert_eq!(opened_in(handler).iter().map(|child| &child.id).collect::<Vec<_>>(), [&outer.id]);
    }
    Ok(())
}

const POWERTOOLS: &str = include_str!("../functions/python-powertools/app.py");

#[tokio::test(flavor = "multi_thread")]
async fn row_11_the_tracer_of_powertools_joins_the_same_trace_sampled_by_whomever() -> Result<()> {
    for pass_through in [false, true] {
        let mut stage = Stage::python(POWERTOOLS).await?;
        if pass_through {
            stage.pass_through();
        } else {
            stage.set("OTEL_XRAY_TRACING_MODE", "active");
        }
        let run = stage.run(&[json!({"id": "o-1", "items": ["broken"]})]).await?;
        assert!(!run.answers[0].is_success(), "{:?}", run.function_lines);
        let traces = stage.traces();
        assert_eq!(traces.len(), 1, "pass-through: {pass_through}, {:?}", run.lines);
        assert_eq!(traces[0].orphans, []);
        let handler = if pass_through {
            &traces[0].roots[0]
        } else {
            traces[0].find("app.handler").expect("the handler's span")
        };
        let opened = opened_in(handler);
        assert_eq!(opened.iter().map(|child| child.name()).collect::<Vec<_>>(), ["## handler"]);
        let own = opened[0];
        assert_eq!(own.children.iter().map(Node::name).collect::<Vec<_>>(), ["## app.price"]);
        assert_eq!(own.value("/annotations/ColdStart"), true);
        assert_eq!(own.value("/annotations/Service"), "orders");
        assert_eq!(own.value("/metadata/orders/order/id"), "o-1");
        assert_eq!(own.children[0].value("/annotations/items"), 1);
        assert!(own.flag("fault") && own.children[0].flag("fault") && handler.flag("fault"));
        assert_eq!(run.complaints(), Vec::<&String>::new());
    }
    Ok(())
}
