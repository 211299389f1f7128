//! Which invocations are traced, where Lambda, a caller, the function or the account's rules decide.

use crate::main_job::server;
use anyhow::Result;
use otel_xray_local::lambda::{LambdaEnvironment, Tracing};
use otel_xray_local::xray::Fault;
use otel_xray_tests::Stage;
use serde_json::{Value, json};

const FUNCTION: &str = r#"
import time, urllib.request

def handler(event, context):
    if "url" in event:
        urllib.request.urlopen(event["url"]).read()
    time.sleep(event.get("takes_s", 0))
    if event.get("fail"):
        raise ValueError("no such order")
    return {"statusCode": event.get("status", 200)}
"#;

/// Its end is none that 5 % of all have.
const UPSTREAM: &str = "Root=1-5759e988-bd862e3fe1be46a9ffffffff;Parent=53995c3f42cd8ad8";

#[tokio::test(flavor = "multi_thread")]
async fn row_4_attaching_the_layer_is_enough_where_nobody_traces_and_calls_are_told() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    let (url, heads) = server().await?;
    let run = stage.run(&[json!({"url": url})]).await?;
    let traces = stage.traces();
    assert_eq!(traces.len(), 1);
    let segment = &traces[0].roots[0];
    assert_eq!((segment.name(), segment.text("/origin")), ("shop", "AWS::Lambda::Function"));
    assert_eq!(traces[0].orphans, []);
    let call = segment.children.iter().find(|child| child.text("/namespace") == "remote").expect("the call");
    let told = format!("x-amzn-trace-id: root={};parent={};sampled=1", traces[0].id, call.id);
    let head = heads.lock().expect("no test panics while it holds this")[0].to_ascii_lowercase();
    assert!(head.contains(&told), "{head}");
    assert_eq!(run.complaints(), Vec::<&String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_1_to_4_who_decides_and_what_the_end_changes() -> Result<()> {
    let (yes, no) = (format!("{UPSTREAM};Sampled=1"), format!("{UPSTREAM};Sampled=0"));
    let (fine, fails, slow) = (json!({}), json!({"fail": true}), json!({"takes_s": 0.3}));
    let get = json!({"status": 503, "version": "2.0", "routeKey": "$default", "rawPath": "/", "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/"}, "domainName": "a.lambda-url.eu-west-1.on.aws"}});
    let (active, pass_through) = (Tracing::Active, Tracing::PassThrough);
    let rows: Vec<(Tracing, &str, &str, Value, &str, u64)> = vec![
        (active, &yes, "auto", fine.clone(), "none", 1),
        (active, &no, "auto", fine.clone(), "none", 0),
        (active, &no, "auto", fails.clone(), "errors", 1),
        (pass_through, &yes, "respect", fine.clone(), "none", 1),
        (pass_through, &no, "auto", fine.clone(), "none", 1),
        (pass_through, UPSTREAM, "auto", fine.clone(), "none", 1),
        (pass_through, &no, "respect", fails.clone(), "none", 0),
        (pass_through, &no, "respect", fine.clone(), "errors,slow:300", 0),
        (pass_through, &no, "respect", fails, "errors,slow:300", 1),
        (pass_through, &no, "respect", get, "errors", 1),
        (pass_through, &no, "respect", slow, "errors,slow:300", 1),
        (pass_through, &no, "respect", fine.clone(), "cold", 1),
        (pass_through, &no, "respect", fine, "all", 1),
    ];
    for (tracing, header, sampling, event, keep, expected) in rows {
        let mut stage = Stage::python(FUNCTION).await?;
        let row = format!("{tracing:?} {header} {sampling} {event} {keep}");
        if tracing == Tracing::PassThrough {
            stage.pass_through();
        } else {
            stage.set("OTEL_XRAY_TRACING_MODE", "active");
        }
        stage.set("OTEL_XRAY_SAMPLING", sampling);
        stage.set("OTEL_XRAY_KEEP", keep);
        let run = stage.run_with(&[event], Some(header)).await?;
        assert_eq!(run.accounts()["sent"], expected, "{row}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn smp_14_the_accounts_rules_decide_when_they_are_asked_for() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    stage.set("OTEL_XRAY_SAMPLING", "rules");
    let rules = stage.xray.sampling();
    rules.set_rules(&[
        json!({"RuleName": "other", "Priority": 1, "ServiceName": "other", "FixedRate": 1.0}),
        json!({"RuleName": "never", "Priority": 2, "ServiceName": "sh?p", "FixedRate": 0.0}),
    ]);
    // The first is decided by the default rule: the rules come behind it.
    let run = stage.run(&[json!({}), json!({}), json!({})]).await?;
    let accounts = run.accounts();
    assert_eq!((&accounts["sent"], &accounts["dropped"]), (&json!(1), &json!({"unsampled": 2})));
    let asked: Vec<String> = stage.xray.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked.iter().filter(|path| *path == "/GetSamplingRules").count(), 1, "{asked:?}");
    let reported = rules.reported();
    assert_eq!(reported.len(), 1, "the next report is due in ten seconds: {reported:?}");
    assert_eq!((&reported[0]["RuleName"], &reported[0]["SampledCount"]), (&json!("never"), &json!(0)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn smp_17_where_no_flush_is_waited_for_the_rules_are_asked_beside_an_invocation() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    stage.set("OTEL_XRAY_SAMPLING", "rules");
    stage.set("OTEL_XRAY_FLUSH", "periodic:900000");
    stage.xray.sampling().set_rules(&[json!({"RuleName": "never", "FixedRate": 0.0})]);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = Vec::new();
    let asked = || stage.xray.requests().iter().filter(|request| request.path == "/GetSamplingRules").count();
    while asked() == 0 && answers.len() < 100 {
        answers.push(environment.invoke("{}", None).await?);
        environment.idle().await?;
    }
    // Its answer has come by one of these.
    for _ in 0..20 {
        answers.push(environment.invoke("{}", None).await?);
        environment.idle().await?;
    }
    assert_eq!(asked(), 1);
    let accounts = stage.end(environment, answers).await?.accounts();
    assert_eq!(
        accounts["dropped"].as_object().map(|dropped| dropped.keys().cloned().collect()),
        Some(vec!["unsampled".to_owned()])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn smp_15_without_permission_the_default_rule_decides_and_one_line_says_so() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.pass_through();
    stage.set("OTEL_XRAY_SAMPLING", "rules");
    stage.set("OTEL_XRAY_OUTLETS", "daemon");
    stage.xray.faults().add(&Fault::Status(403, "AccessDeniedException"), 1);
    let run = stage.run(&[json!({})]).await?;
    let said = run.complaints();
    assert!(said.iter().any(|line| line.contains("xray:GetSamplingRules")), "{said:?}");
    assert!(run.answers[0].is_success());
    Ok(())
}

const SDK: &str = r#"
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.daemon_config import DaemonConfig
from aws_xray_sdk.core.sampling.connector import ServiceConnector

def handler(event, context):
    daemon = DaemonConfig()
    connector = ServiceConnector()
    connector.setup_xray_client(daemon.tcp_ip, daemon.tcp_port, None)
    rules = connector.fetch_sampling_rules()
    for rule in rules:
        rule.increment_request_count()
    targets, modified = connector.fetch_sampling_target(rules)
    return {"rules": [rule.name for rule in rules], "targets": {name: target["rate"] for name, target in targets.items()}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn dmn_8_an_x_ray_sdk_has_its_sampling_rules_from_x_ray_or_from_its_last_answer() -> Result<()> {
    let stage = Stage::python(SDK).await?;
    stage.xray.sampling().set_rules(&[json!({"RuleName": "checkout", "FixedRate": 0.25})]);
    let environment = LambdaEnvironment::start(stage.config.clone()).await?;
    let mut answers = vec![environment.invoke("{}", None).await?];
    environment.idle().await?;
    let asked = stage.xray.requests();
    let signed = |path: &str| {
        let asked: Vec<_> = asked.iter().filter(|request| request.path == path).collect();
        asked.len() == 1 && asked[0].authorization.starts_with("AWS4-HMAC-SHA256 ")
    };
    assert!(signed("/GetSamplingRules") && signed("/SamplingTargets"), "{asked:?}");
    assert_eq!(stage.xray.sampling().reported().len(), 2);

    // Both of the next invocation's questions.
    stage.xray.faults().add(&Fault::Status(503, "ServiceUnavailableException"), 2);
    answers.push(environment.invoke("{}", None).await?);
    environment.idle().await?;
    let expected = json!({"rules": ["checkout", "Default"], "targets": {"checkout": 0.25, "Default": 0.05}});
    for answer in &answers {
        assert_eq!(serde_json::from_slice::<Value>(&answer.payload)?, expected);
    }
    assert_eq!(stage.xray.sampling().reported().len(), 2, "X-Ray has not seen the second report");
    stage.end(environment, answers).await?;
    Ok(())
}
