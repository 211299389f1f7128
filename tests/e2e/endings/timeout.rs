//! Lambda ends an invocation because its time is up.

use super::{BOTH, ends};
use anyhow::Result;
use serde_json::json;
use std::time::Duration;

const WAITS: &str = r#"
import boto3, os
from botocore.config import Config

config = Config(connect_timeout=60, read_timeout=60, retries={"max_attempts": 0})
dynamodb = boto3.client("dynamodb", endpoint_url=os.environ["SILENCE"], config=config)

def handler(event, context):
    dynamodb.get_item(TableName="orders", Key={"id": {"S": "7"}})
"#;

const BUSY: &str = "def handler(event, context):\n    while True:\n        pass\n";

/// A server that takes connections and never answers.
async fn silence() -> Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    Ok(url)
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_t_6_a_timeout_in_an_aws_call_names_the_call() -> Result<()> {
    let url = silence().await?;
    for tracing in BOTH {
        let ended = ends(WAITS, tracing, &[json!({})], |stage| {
            stage.set("SILENCE", &url);
            stage.config.timeout = Duration::from_secs(3);
        })
        .await?;
        let handler = ended
            .assert_fault("Timeout", "ended by Lambda after 3.00 s, while waiting for DynamoDB GetItem (")?;
        assert_eq!(handler.text("/annotations/waiting_for"), "DynamoDB GetItem");
        let open = handler.value("/metadata/default/still_open").to_string();
        assert!(open.contains("DynamoDB GetItem ("), "{open}");
        let call = ended.find("DynamoDB")?;
        assert!(call.flag("fault"), "{call:?}");
        assert_eq!(call.value("/annotations/waited_for"), &json!(true));
        assert_eq!((call.text("/namespace"), call.text("/aws/operation")), ("aws", "GetItem"));
        assert!(call.text("/cause/exceptions/0/message").starts_with("no answer in "), "{call:?}");
        assert_eq!(ended.run.seen_by_callers()[0].0.as_deref(), Some("Sandbox.Timedout"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_in_a_busy_loop_is_told() -> Result<()> {
    for tracing in BOTH {
        let ended = ends(BUSY, tracing, &[json!({})], |stage| {
            stage.config.timeout = Duration::from_secs(2);
        })
        .await?;
        let handler = ended.assert_fault("Timeout", "ended by Lambda after 2.00 s")?;
        assert_eq!(handler.value("/annotations/waiting_for"), &json!(null));
    }
    Ok(())
}
