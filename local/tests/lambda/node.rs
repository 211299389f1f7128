//! The managed Node.js runtime with a least runtime client. `OTEL_XRAY_TEST_NODE` names the interpreter, else `node` is
//! looked for on `PATH`; without one these tests say so and pass.

use std::fs;

use otel_xray_local::lambda::{RuntimeKind, write_executable};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{config, layer, start};

const CLIENT: &str = r#"
import http from "node:http";

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
const call = (method, path, body) => new Promise((resolve, reject) => {
  const request = http.request(`${api}${path}`, { method }, (response) => {
    let text = "";
    response.on("data", (part) => { text += part; });
    response.on("end", () => resolve([response.headers, text]));
  });
  request.on("error", reject);
  request.end(body);
});
for (;;) {
  const [headers, event] = await call("GET", "/next");
  const answer = { event, exec: process.execArgv, argv: process.argv, environment: process.env };
  await call("POST", `/${headers["lambda-runtime-aws-request-id"]}/response`, JSON.stringify(answer));
}
"#;

fn interpreter() -> Option<String> {
    let node = std::env::var("OTEL_XRAY_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    if std::process::Command::new(&node).arg("--version").output().is_err() {
        println!("skipped: no Node.js; name one in OTEL_XRAY_TEST_NODE");
        return None;
    }
    Some(node)
}

#[tokio::test]
async fn l_11_1_section_11_the_wrapper_gets_the_command_line_of_nodejs() {
    let Some(node) = interpreter() else { return };
    let (layer, task) = (layer(&["collector"]), TempDir::new().unwrap());
    let client = task.path().join("index.mjs");
    fs::write(&client, CLIENT).unwrap();
    write_executable(&layer.path().join("wrap"), "#!/bin/sh\nWRAPPED=$0 exec \"$@\"\n").unwrap();
    let mut config = config(&layer, &json!({}));
    config.task_dir = task.path().into();
    config.runtime = RuntimeKind::Node {
        interpreter: node.into(),
        client: Some(client.clone()),
        arguments: vec!["--max-old-space-size=460".to_owned()],
    };
    config.variables.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/opt/wrap".to_owned());
    let environment = start(config).await;
    assert_eq!(environment.init_report().failure, None);
    let answer = environment.invoke(r#"{"order":1}"#, None).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer["event"], r#"{"order":1}"#);
    let expected = ["--expose-gc", "--max-http-header-size", "81920", "--max-old-space-size=460"];
    assert_eq!(answer["exec"], json!(expected));
    assert_eq!(answer["argv"][1], json!(fs::canonicalize(client).unwrap()));
    let variables = &answer["environment"];
    assert!(variables["AWS_EXECUTION_ENV"].as_str().unwrap().starts_with("AWS_Lambda_nodejs"));
    assert!(variables["WRAPPED"].as_str().unwrap().ends_with("/wrap"));
    assert!(variables["NODE_PATH"].as_str().unwrap().contains("/nodejs/node_modules:"));
    assert_eq!(variables["_HANDLER"], "app.handler");
    environment.shutdown().await.unwrap();
}
