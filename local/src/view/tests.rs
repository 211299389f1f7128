use super::*;
use crate::xray::Store;
use serde_json::{Value, json};

const TRACE: &str = "1-581cf771-a006649127e371903a2de979";
const BEGIN: f64 = 1_795_224_538.0;

/// A document: id, parent, name, begin and end in milliseconds, and what else there is.
fn document(id: u64, parent: u64, name: &str, times_ms: (f64, Option<f64>), more: &Value) -> String {
    let mut document = json!({"name": name, "id": format!("{id:016x}"), "trace_id": TRACE,
        "start_time": BEGIN + times_ms.0 / 1000.0});
    match times_ms.1 {
        Some(end) => document["end_time"] = json!(BEGIN + end / 1000.0),
        None => document["in_progress"] = json!(true),
    }
    if parent > 0 {
        document["parent_id"] = json!(format!("{parent:016x}"));
    }
    if more.get("origin").is_none() {
        document["type"] = json!("subsegment");
    }
    for (key, value) in more.as_object().unwrap() {
        document[key] = value.clone();
    }
    document.to_string()
}

fn render(documents: Vec<String>, style: Style) -> String {
    let store = Store::default();
    assert_eq!(store.put_documents(documents), []);
    render_trace(&store.trace(TRACE).unwrap(), &style)
}

fn facade(end_ms: f64, more: &Value) -> Vec<String> {
    let mut service = json!({"origin": "AWS::Lambda"});
    let mut function = json!({"origin": "AWS::Lambda::Function"});
    for (key, value) in more.as_object().unwrap() {
        service[key] = value.clone();
        function[key] = value.clone();
    }
    vec![
        document(1, 0, "shop", (0.0, Some(end_ms + 8.0)), &service),
        document(2, 1, "shop", (6.0, Some(end_ms)), &function),
    ]
}

#[test]
fn an_active_trace() {
    let mut documents = facade(182.0, &json!({}));
    documents.extend([
        document(3, 2, "app.handler", (8.0, Some(180.0)), &json!({"annotations": {"faas.coldstart": true},
            "metadata": {"otel": {"kind": "server"}}})),
        document(4, 3, "S3", (10.0, Some(52.5)), &json!({"namespace": "aws", "http": {"response": {"status": 200}},
            "aws": {"operation": "GetObject", "bucket_name": "orders", "key": "o-17.json"}})),
        document(5, 3, "SQS", (54.0, Some(70.0)), &json!({"namespace": "aws", "http": {"response": {"status": 200}},
            "aws": {"operation": "SendMessage", "queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/paid"}})),
        document(6, 3, "api.example.com", (71.0, Some(150.0)), &json!({"namespace": "remote",
            "http": {"request": {"method": "GET", "url": "https://api.example.com/v1/rates?currency=EUR"}, "response": {"status": 200}}})),
        document(7, 3, "price the order", (151.0, Some(152.25)), &json!({"annotations": {"order.id": "o-17"},
            "metadata": {"order": {"items": 3, "total": 12.5}}})),
    ]);
    insta::assert_snapshot!(render(documents, Style::default()));
}

#[test]
fn an_exception_with_its_frames() {
    let mut documents = facade(30.0, &json!({"fault": true}));
    let frames: Vec<Value> = (1..=8)
        .map(|line| json!({"path": "/var/task/app.py", "line": line, "label": format!("f{line}")}))
        .collect();
    let cause = json!({"exceptions": [
        {"id": "00000000000000aa", "type": "ValueError", "message": "no price for o-17", "stack": frames, "cause": "00000000000000ab"},
        {"id": "00000000000000ab", "type": "KeyError", "message": "'o-17'", "stack": [{"path": "/var/task/app.py", "line": 3, "label": "look_up"}]},
    ]});
    documents.extend([
        document(3, 2, "app.handler", (8.0, Some(28.0)), &json!({"fault": true})),
        document(4, 3, "price the order", (10.0, Some(27.0)), &json!({"fault": true, "cause": cause})),
    ]);
    insta::assert_snapshot!(render(documents, Style::default()));
}

#[test]
fn a_cold_start_leaves_room_for_what_the_function_did() {
    let mut documents = facade(1_020.0, &json!({}));
    for document in &mut documents {
        let mut moved: Value = serde_json::from_str(document).unwrap();
        moved["start_time"] = json!(BEGIN + 1.0);
        *document = moved.to_string();
    }
    documents.extend([
        document(3, 2, "Init", (0.0, Some(990.0)), &json!({})),
        document(4, 2, "app.handler", (1_001.0, Some(1_019.0)), &json!({})),
        document(
            5,
            4,
            "S3",
            (1_002.0, Some(1_012.0)),
            &json!({"namespace": "aws",
            "aws": {"operation": "PutObject", "bucket_name": "orders", "key": "a/b", "retries": 2}}),
        ),
    ]);
    insta::assert_snapshot!(render(documents, Style::default()));
}

#[test]
fn an_exception_that_came_through_is_told_once() {
    let cause = |kind: &str, id: u64, stack: &Value| json!({"exceptions": [{"id": format!("{id:016x}"), "type": kind, "message": "no\nprice", "stack": stack}]});
    let frame = json!([{"path": "/var/task/app.py", "line": 7, "label": "price"}]);
    let mut documents = facade(30.0, &json!({"fault": true, "cause": cause("NoPrice", 0xa, &json!([]))}));
    documents.extend([
        document(
            3,
            2,
            "app.handler",
            (8.0, Some(28.0)),
            &json!({"fault": true, "cause": cause("app.NoPrice", 0xb, &frame)}),
        ),
        document(
            4,
            3,
            "price",
            (9.0, Some(27.0)),
            &json!({"fault": true, "cause": cause("app.NoPrice", 0xc, &frame)}),
        ),
        // Another one, at the same place.
        document(
            5,
            3,
            "api.example.com",
            (9.0, Some(20.0)),
            &json!({"namespace": "remote", "fault": true,
            "cause": cause("Timeout", 0xd, &json!([]))}),
        ),
    ]);
    let shown = render(documents.clone(), Style::default());
    assert_eq!(shown.matches("NoPrice: no price").count(), 1, "{shown}");
    assert_eq!(shown.matches("/var/task/app.py:7 in price").count(), 1, "{shown}");
    assert_eq!(shown.matches("Timeout: no price").count(), 1, "{shown}");
    let verbose = render(documents, Style { verbose: true, ..Style::default() });
    assert_eq!(verbose.matches("NoPrice: no price").count(), 4, "{verbose}");
    assert_eq!(verbose.matches("/var/task/app.py:7 in price").count(), 1, "{verbose}");
}

#[test]
fn id_3_repeated_ids_are_told() {
    let nested = json!({"origin": "AWS::Lambda::Function",
        "subsegments": [{"name": "twice", "id": "0000000000000002", "start_time": BEGIN, "end_time": BEGIN + 0.01}]});
    let shown = render(
        vec![
            document(1, 0, "shop", (0.0, Some(20.0)), &nested),
            document(2, 1, "twice", (0.0, Some(10.0)), &json!({})),
        ],
        Style::default(),
    );
    assert_eq!(shown.matches("twice").count(), 1, "{shown}");
    assert!(shown.ends_with("\nids that came more than once: 0000000000000002\n"), "{shown}");
}

#[test]
fn no_document_breaks_the_lines_or_colours() {
    let evil = "\x1b[2J\u{9b}31m\r\n\u{202e}x";
    let documents = vec![document(
        1,
        0,
        "line\u{2028}separator",
        (0.0, Some(20.0)),
        &json!({"origin": evil, "annotations": {"a": evil}, "metadata": {evil: {evil: evil}, "loose": evil},
            "cause": {"exceptions": [{"id": "00000000000000aa", "type": evil, "message": evil,
                "stack": [{"path": evil, "label": evil, "line": 1}]}]}}),
    )];
    let shown = render(documents, Style::default());
    assert_eq!(shown.lines().count(), 7, "{shown}");
    let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}' || c == '\u{2028}');
    assert!(!shown.contains(bad), "{shown:?}");
}

#[test]
fn throttled_running_orphaned_and_linked() {
    let documents = vec![
        document(
            1,
            0,
            "shop",
            (0.0, None),
            &json!({"origin": "AWS::Lambda::Function",
            "links": [{"trace_id": "1-581cf772-a006649127e371903a2de979", "id": "00000000000000aa"}]}),
        ),
        document(
            2,
            1,
            "DynamoDB",
            (10.0, Some(20.0)),
            &json!({"namespace": "aws", "error": true, "throttle": true,
            "http": {"response": {"status": 400}}, "aws": {"operation": "PutItem", "table_name": "orders"}}),
        ),
        document(3, 1, "payments", (20.0, None), &json!({"namespace": "remote"})),
        document(9, 8, "lost", (30.0, Some(40.0)), &json!({})),
    ];
    insta::assert_snapshot!(render(documents, Style::default()));
}

#[test]
fn narrow_and_coloured_lines_stay_within_the_width() {
    let mut documents = facade(182.0, &json!({"fault": true}));
    documents.push(document(
        3,
        2,
        &"long name ".repeat(15),
        (8.0, Some(180.0)),
        &json!({"annotations": {"a": "x".repeat(300)}}),
    ));
    let plain = render(documents.clone(), Style { width: 80, ..Style::default() });
    assert!(plain.lines().all(|line| width(line) <= 80), "{plain}");
    let coloured = render(documents, Style { width: 80, colour: true, verbose: true });
    let mut stripped = String::new();
    let mut in_code = false;
    for c in coloured.chars() {
        match c {
            '\x1b' => in_code = true,
            'm' if in_code => in_code = false,
            c if !in_code => stripped.push(c),
            _ => {}
        }
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_chain_as_deep_as_a_trace_can_hold_is_drawn_within_the_width() {
    let nodes = (1..=2000).map(|id| {
        let more = if id == 1 { json!({"origin": "AWS::Lambda"}) } else { json!({}) };
        document(id, id - 1, "deep", (0.0, Some(20.0)), &more)
    });
    let shown = render(nodes.collect(), Style::default());
    assert_eq!(shown.lines().count(), 2001);
    let widest = shown.lines().map(width).max();
    assert!(widest <= Some(110), "{widest:?}");
}
