//! The binary: what it prints, and how it says what is wrong. The tests that start Python need
//! `OTEL_XRAY_TEST_PYTHON`, an interpreter with `awslambdaric` 4 or newer; without it they say so and pass.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const ACCOUNT: &str = r#"{"event":"otel_xray.accounting","received":3,"sent":2,"rejected":{},"dropped":{"unsampled":1},"carried":0}"#;

fn zip(path: &Path, files: &[(&str, &[u8])]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// A layer zip with the fake extension and a wrapper, layers that are none, a function, and two events.
fn prepare() -> TempDir {
    let directory = TempDir::new().unwrap();
    let fake = fs::read(env!("CARGO_BIN_EXE_fake-extension")).unwrap();
    let wrapper: &[u8] = b"#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n";
    let whole = [("extensions/fake", &fake[..]), ("otel-instrument", wrapper)];
    zip(&directory.path().join("layer.zip"), &whole);
    zip(&directory.path().join("bare.zip"), &whole[..1]);
    zip(&directory.path().join("nothing.zip"), &whole[1..]);
    let mut foreign = fake.clone();
    foreign[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    zip(&directory.path().join("foreign.zip"), &[("extensions/fake", &foreign), whole[1]]);
    let function = directory.path().join("function");
    fs::create_dir(&function).unwrap();
    let app = "import os\n\ndef handler(event, context):\n    print('saw', event)\n    if event == 'fail':\n        \
               raise ValueError('told to')\n    return {'wrapped': os.environ.get('WRAPPED'), 'x': os.environ.get('X')}\n";
    fs::write(function.join("app.py"), app).unwrap();
    fs::write(function.join("needy.py"), "import no_such_package\n").unwrap();
    fs::write(directory.path().join("one.json"), "1").unwrap();
    fs::write(directory.path().join("fail.json"), "\"fail\"").unwrap();
    fs::write(directory.path().join("bad.json"), "{\"a\": ").unwrap();
    fs::write(directory.path().join("bad.zip"), "no zip").unwrap();
    directory
}

fn python() -> Option<String> {
    let python = std::env::var("OTEL_XRAY_TEST_PYTHON").ok();
    if python.is_none() {
        println!("skipped: OTEL_XRAY_TEST_PYTHON does not name a Python with awslambdaric");
    }
    python
}

fn invoke(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otel-xray-local"));
    command.current_dir(directory).arg("invoke").args(arguments);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn mistakes_are_named_with_cause_and_remedy() {
    let directory = prepare();
    let base = [("--layer", "layer.zip"), ("--function", "function"), ("--handler", "app.handler")];
    let other = if cfg!(target_arch = "x86_64") { "arm64" } else { "x86_64" };
    let cases: [(&str, &str, &[&str]); 12] = [
        ("--layer", "none.zip", &["layer none.zip does not exist", "build it first"]),
        ("--layer", "bad.zip", &["layer bad.zip is not a usable zip", "again"]),
        ("--layer", "function", &["layer function has no folder extensions/", "becomes /opt"]),
        ("--layer", "nothing.zip", &["layer nothing.zip has no folder extensions/", "becomes /opt"]),
        ("--layer", "bare.zip", &["layer bare.zip has no otel-instrument", "--no-wrapper"]),
        ("--layer", "foreign.zip", &["foreign.zip is for another machine", "extensions/fake", other]),
        (
            "--env",
            "AWS_LAMBDA_EXEC_WRAPPER=/opt/none",
            &["layer layer.zip has no none", "build the layer again"],
        ),
        ("--function", "nowhere", &["function directory nowhere does not exist", "name the directory"]),
        ("--function", "one.json", &["function directory one.json is not a directory"]),
        ("--event", "none.json", &["event file none.json cannot be read", "name an existing"]),
        ("--event", "bad.json", &["event file bad.json is not JSON", "line 1", "one JSON value"]),
        ("--python", "/no/python", &["interpreter /no/python cannot be run", "name a Python 3.9"]),
    ];
    for (option, value, parts) in cases {
        let mut arguments: Vec<&str> = base
            .iter()
            .filter(|(name, _)| *name != option)
            .flat_map(|(name, value)| [*name, *value])
            .collect();
        arguments.extend([option, value]);
        let output = invoke(directory.path(), &arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{option} {value}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{option} {value}: {stderr}");
        }
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn handlers_that_cannot_be_loaded_are_explained() {
    let Some(python) = python() else { return };
    let directory = prepare();
    let cases: [(&str, &[&str]); 4] = [
        ("missing.handler", &["function/missing.py does not exist", "correct the handler"]),
        ("app.missing", &["app.py has no function \"missing\"", "define the function"]),
        ("needy.handler", &["needy.py cannot be imported", "no_such_package", "pip install --target"]),
        ("app", &["handler \"app\" names no function", "FILE.FUNCTION"]),
    ];
    for (handler, parts) in cases {
        let arguments =
            ["--layer", "layer.zip", "--function", "function", "--handler", handler, "--python", &python];
        let output = invoke(directory.path(), &arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{handler}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{handler}: {stderr}");
        }
        let stdout = text(&output.stdout);
        assert_eq!(
            stdout.matches("\ninvocation ").count() + usize::from(stdout.starts_with("invocation ")),
            1
        );
    }
}

/// A Node.js of this machine; the stand-in for the runtime client is used.
fn node() -> Option<String> {
    let node = std::env::var("OTEL_XRAY_TEST_NODE").unwrap_or_else(|_| "node".to_owned());
    let answers = Command::new(&node).arg("--version").output().is_ok();
    if !answers {
        println!("skipped: no Node.js; name one in OTEL_XRAY_TEST_NODE");
    }
    answers.then_some(node)
}

#[test]
fn node_js_mistakes_are_told_in_the_words_of_node_js() {
    let Some(node) = node() else { return };
    let directory = prepare();
    let files = [
        ("throws.js", "exports.handler = () => 1;\nthrow new Error('config DB_URL is missing');\n"),
        ("esm.mjs", "export const handler = () => 1;\nthrow new RangeError('config DB_URL is missing');\n"),
        ("needy.js", "require('no-such-package');\n"),
        ("needy-esm.mjs", "import 'no-such-package';\n"),
        ("astray.js", "require('./nowhere');\n"),
        ("bad.js", "exports.handler = (;\n"),
        ("mute.cjs", "exports.other = () => 1;\n"),
    ];
    for (name, source) in files {
        fs::write(directory.path().join("function").join(name), source).unwrap();
    }
    let cases: [(&str, &[&str]); 9] = [
        (
            "throws.handler",
            &[
                "throws.js failed while it was loaded",
                "Error: config DB_URL is missing (throws.js, line 2)",
                "--env",
            ],
        ),
        ("esm.handler", &["esm.mjs failed", "RangeError: config DB_URL is missing (esm.mjs, line 2)"]),
        (
            "needy.handler",
            &["needy.js cannot be imported", "'no-such-package'", "npm install --prefix function"],
        ),
        (
            "needy-esm.handler",
            &["needy-esm.mjs cannot be imported", "'no-such-package'", "npm install --prefix"],
        ),
        ("astray.handler", &["astray.js cannot be imported", "'./nowhere'", "correct what it imports"]),
        ("bad.handler", &["SyntaxError: Unexpected token ';' (bad.js, line 1); correct function/bad.js"]),
        ("mute.handler", &["mute.cjs has no function \"handler\"", "export the function"]),
        (
            "none.handler",
            &[
                "function/none.js or function/none.mjs or function/none.cjs does not exist",
                "correct the handler",
            ],
        ),
        ("index", &["handler \"index\" names no function", "such as index.handler"]),
    ];
    for (handler, parts) in cases {
        let mut arguments = vec!["--layer", "layer.zip", "--function", "function", "--handler", handler];
        arguments.extend(["--runtime", "nodejs", "--node", &node]);
        let output = invoke(directory.path(), &arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{handler}: {stderr}");
        let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        for part in parts {
            assert!(error.contains(part), "{handler}: {stderr}");
        }
        assert!(!error.contains(".py"), "{handler}: {stderr}");
    }
}

#[test]
fn a_node_js_function_answers_in_all_its_ways_without_a_runtime_client() {
    let Some(node) = node() else { return };
    let directory = prepare();
    let source = "exports.promised = async (event, { awsRequestId, getRemainingTimeInMillis }) =>\n  \
                  ({ event, id: awsRequestId.length, time: getRemainingTimeInMillis() > 0, wrapped: process.env.WRAPPED });\n\
                  exports.nested = { in: { here: async () => 'deep' } };\n\
                  exports.fails = async () => { throw new RangeError('none left'); };\n\
                  exports.streams = awslambda.streamifyResponse(async (event, output) => { output.write('a'); output.end('b'); });\n\
                  exports.dies = () => new Promise(() => setTimeout(() => { throw new TypeError('later'); }, 1));\n";
    fs::write(directory.path().join("function/ways.js"), source).unwrap();
    let cases = [
        ("ways.promised", "success", json!({"event": 1, "id": 36, "time": true, "wrapped": "yes"})),
        ("ways.nested.in.here", "success", json!("deep")),
        ("ways.streams", "success", json!("ab")),
        ("ways.fails", "error", json!({"errorType": "RangeError", "errorMessage": "none left"})),
        ("ways.dies", "error", json!({"errorType": "TypeError", "errorMessage": "later"})),
    ];
    for (handler, status, payload) in cases {
        let mut arguments = vec!["--layer", "layer.zip", "--function", "function", "--handler", handler];
        arguments.extend(["--runtime", "nodejs", "--node", &node, "--event", "one.json", "--json"]);
        let output = invoke(directory.path(), &arguments);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let invocation = &report["invocations"][0];
        let mut seen = invocation["payload"].clone();
        if let Some(fields) = seen.as_object_mut() {
            fields.remove("trace");
        }
        assert_eq!((&invocation["status"], &seen), (&json!(status), &payload), "{handler}: {report:#}");
        if handler == "ways.fails" {
            let told = report["documents"].to_string();
            assert!(told.contains("\"none left\"") && told.contains("ways.js"), "{told}");
        }
    }
}

#[test]
fn every_event_is_invoked_and_the_account_is_read_out() {
    let Some(python) = python() else { return };
    let directory = prepare();
    let fake = format!("FAKE_EXTENSION={}", json!({"*": {"last_line": ACCOUNT}}));
    let arguments = [
        "--layer",
        "layer.zip",
        "--function",
        "function",
        "--handler",
        "app.handler",
        "--python",
        &python,
        "--event",
        "one.json",
        "--event",
        "fail.json",
        "--count",
        "2",
        "--env",
        "X=y=z",
        "--env",
        &fake,
        "--freeze",
        "10",
    ];
    let output = invoke(directory.path(), &arguments);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "two events fail: {stdout} {}", text(&output.stderr));
    assert_eq!(stdout.matches("answer  {\"wrapped\": \"yes\", \"x\": \"y=z\"}").count(), 2, "{stdout}");
    assert_eq!(stdout.matches("FAILED  {\"errorMessage\": \"told to\"").count(), 2, "{stdout}");
    assert_eq!(stdout.matches("    saw 1\n").count(), 2, "{stdout}");
    let account = "spans: 3 received = 2 sent + 0 rejected + 1 dropped (unsampled 1) + 0 carried\n";
    assert_eq!(stdout.matches(account).count(), 1, "{stdout}");
    assert_eq!(stdout.matches("\nTrace 1-").count(), 4, "{stdout}");
    assert_eq!(stdout.matches("function  AWS::Lambda::Function").count(), 4, "{stdout}");
    assert_eq!(stdout.matches("├─ Init").count() + stdout.matches("└─ Init").count(), 1, "{stdout}");
    assert!(stdout.contains("ValueError: told to"), "{stdout}");
    assert!(!stdout.contains(ACCOUNT), "the account is not repeated as a log line");
}

#[test]
fn json_output_is_one_object() {
    let Some(python) = python() else { return };
    let directory = prepare();
    fs::create_dir(directory.path().join("layer")).unwrap();
    fs::create_dir(directory.path().join("layer/extensions")).unwrap();
    let extension = directory.path().join("layer/extensions/fake");
    fs::copy(env!("CARGO_BIN_EXE_fake-extension"), &extension).unwrap();
    fs::set_permissions(&extension, Permissions::from_mode(0o755)).unwrap();
    let fake = format!("FAKE_EXTENSION={}", json!({"*": {"last_line": ACCOUNT}}));
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let arguments = [
        "--layer",
        "layer",
        "--function",
        "function",
        "--handler",
        "app.handler",
        "--python",
        &python,
        "--json",
        "--env",
        &fake,
        "--tracing",
        "pass-through",
        "--trace-header",
        header,
        "--no-wrapper",
    ];
    let output = invoke(directory.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let invocation = &report["invocations"][0];
    assert_eq!(invocation["payload"], json!({"wrapped": null, "x": null}));
    assert_eq!(invocation["status"], "success");
    assert_eq!(invocation["traceHeader"], header);
    assert!(invocation["initDurationMs"].is_number());
    assert_eq!(report["accounting"][0]["dropped"]["unsampled"], 1);
    assert_eq!(report["shutdown"]["extensions"][0]["exit"], "exit status 0");
    assert_eq!(report["documents"], json!([]), "under pass-through Lambda writes nothing");
}

/// Options, the fake extension's script, and what the JSON output must say of the first invocation and the start.
#[test]
fn kinds_of_environments_and_telemetry() {
    let Some(python) = python() else { return };
    let directory = prepare();
    let cases: [(&[&str], Value, &str, &str); 5] = [
        (&["--provisioned"], json!({}), "/initDurationMs", "provisioned-concurrency"),
        (&["--snap-start"], json!({}), "/restoreDurationMs", "snap-start"),
        (&["--instances", "2"], json!({"falls_back": true}), "/maxMemoryUsedMB", "lambda-managed-instances"),
        (
            &["--telemetry", "202"],
            json!({"subscribe_at": "init"}),
            "/initDurationMs",
            "Telemetry.NotSupported",
        ),
        (&["--fault", "no-credentials"], json!({}), "/maxMemoryUsedMB", "on-demand"),
    ];
    for (options, script, number, said) in cases {
        let fake = format!("FAKE_EXTENSION={}", json!({"*": script}));
        let mut arguments =
            vec!["--layer", "layer.zip", "--function", "function", "--handler", "app.handler"];
        arguments.extend(["--python", &python, "--json", "--count", "3", "--env", &fake]);
        arguments.extend(options);
        let output = invoke(directory.path(), &arguments);
        assert!(output.status.success(), "{options:?}: {}{}", text(&output.stdout), text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["invocations"].as_array().unwrap().len(), 3);
        assert!(report["invocations"][0].pointer(number).unwrap().is_number(), "{options:?} {number}");
        let lines = report["start"]["log"].to_string();
        assert!(lines.contains(said), "{options:?}: {lines}");
        assert_eq!(
            lines.contains("AWS_ACCESS_KEY_ID"),
            !options.contains(&"no-credentials") && said != "snap-start"
        );
    }
    for wrong in
        [&["--provisioned", "--instances", "2"][..], &["--instances", "0"], &["--fault", "earthquake"]]
    {
        let mut arguments =
            vec!["--layer", "layer.zip", "--function", "function", "--handler", "app.handler"];
        arguments.extend(wrong);
        assert_eq!(invoke(directory.path(), &arguments).status.code(), Some(2), "{wrong:?}");
    }
}

/// The function's memory is enforced, and what happened is said.
#[test]
fn a_function_past_its_memory_is_explained() {
    let Some(python) = python() else { return };
    let directory = prepare();
    fs::write(
        directory.path().join("function/big.py"),
        "def handler(event, context):\n    x = []\n    while True:\n        x.append(bytearray(1 << 20))\n",
    )
    .unwrap();
    let arguments = [
        "--layer",
        "layer.zip",
        "--function",
        "function",
        "--handler",
        "big.handler",
        "--python",
        &python,
        "--memory",
        "128",
    ];
    let output = invoke(directory.path(), &arguments);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("Runtime exited with error: signal: killed"), "{stdout}");
    assert!(stdout.contains("the environment was reset: Runtime.OutOfMemory"), "{stdout}");
}

/// A well-formed request, as an SDK would sign it.
fn put_segment(address: &str) -> String {
    let segment = json!({"name": "shop", "id": "70de5b6f19ff9a0a",
        "trace_id": "1-581cf771-a006649127e371903a2de979", "start_time": 1.0, "end_time": 1.5});
    let body = json!({"TraceSegmentDocuments": [segment.to_string()]}).to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /TraceSegments HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nX-Amz-Date: 20261121T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=A/20261121/us-east-1/xray/aws4_request, Signature=0\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_endpoint_alone_shows_what_it_got_when_it_is_interrupted() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otel-xray-local"));
    let mut child = command.arg("xray").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let address = first.trim_end().rsplit("http://").next().unwrap();
    assert!(put_segment(address).starts_with("HTTP/1.1 200"));
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(rest.contains("Trace 1-581cf771-a006649127e371903a2de979") && rest.contains("shop"), "{rest}");
}

#[test]
fn an_address_that_cannot_be_taken_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otel-xray-local"));
    let output = command.args(["xray", "--listen", "192.0.2.1:0"]).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("192.0.2.1:0") && stderr.contains("loopback"), "{stderr}");
}
