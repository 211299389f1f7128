use super::*;
use crate::sdk::SdkDocumentError;
use crate::trace_header::SpanId;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const TRACE: &str = "1-581cf771-a006649127e371903a2de979";

fn id(number: usize) -> String {
    format!("{:016x}", number + 1)
}

/// A subsegment as the X-Ray SDK for Python sends it from Lambda, under the facade segment.
fn subsegment(subsegments: &[Value]) -> Value {
    json!({
        "id": id(0), "name": "## work", "start_time": 1_478_293_361.271, "end_time": 1_478_293_361.449,
        "in_progress": false, "http": {}, "aws": {}, "annotations": {"order": 7}, "metadata": {"default": {"k": "v"}},
        "trace_id": TRACE, "parent_id": "53995c3f42cd8ad8", "type": "subsegment", "subsegments": subsegments,
    })
}

fn nested(number: usize, bytes: usize, subsegments: &[Value]) -> Value {
    json!({"id": id(number), "name": format!("step {number}"), "start_time": 1.0, "end_time": 2.0,
        "metadata": {"default": {"text": "x".repeat(bytes)}}, "subsegments": subsegments})
}

fn translated(document: &Value) -> (Vec<TranslatedDocument>, Accounts) {
    let parsed = SdkDocument::parse(document.to_string()).unwrap();
    let mut accounts = Accounts::default();
    accounts.receive(parsed.spans());
    let mut documents = Vec::new();
    translate(&parsed, &mut TraceState::default(), &mut accounts, &mut documents);
    (documents, accounts)
}

fn parsed(documents: &[TranslatedDocument]) -> Vec<Value> {
    documents.iter().map(|one| serde_json::from_str(&one.json).unwrap()).collect()
}

/// Every subsegment with its parent, wherever it stands.
fn parents(document: &Value, into: &mut BTreeMap<String, String>) {
    for one in document["subsegments"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        into.insert(text(&one["id"]), text(&document["id"]));
        parents(one, into);
    }
}

#[test]
fn row_11_env_5_a_document_of_the_sdk_passes_byte_for_byte() {
    let spaced = r#"{ "type":"subsegment","id":"53995c3f42cd8ad9", "parent_id":"53995c3f42cd8ad8",
        "trace_id":"1-581cf771-a006649127e371903a2de979","name":"DynamoDB","namespace":"aws","start_time":1.10,
        "end_time":2e0,"unknown":[],"aws":{"operation":"GetItem"},"subsegments":[{"id":"0000000000000009","name":"a","start_time":1.2,"end_time":1.30}]}"#;
    let document = SdkDocument::parse(spaced.to_owned()).unwrap();
    assert_eq!((document.spans(), document.is_segment()), (2, false));
    let mut documents = Vec::new();
    let mut accounts = Accounts::default();
    translate(&document, &mut TraceState::default(), &mut accounts, &mut documents);
    assert_eq!(documents[0].json, spaced);
    assert_eq!((documents.len(), documents[0].spans), (1, 2));
    assert_eq!(documents[0].id.to_text().as_str(), "53995c3f42cd8ad9");
    assert_eq!(accounts, Accounts::default());
}

#[test]
fn what_no_x_ray_would_take_says_what_is_wrong_with_it() {
    let not_an_object = SdkDocumentError::NotAnObject;
    for (text, expected) in [
        ("", not_an_object),
        ("[]", not_an_object),
        ("{\"id\":", not_an_object),
        ("{}", SdkDocumentError::NoTraceId),
        (
            r#"{"id":"53995c3f42cd8ad9","trace_id":"5759e988bd862e3fe1be46a994272793"}"#,
            SdkDocumentError::NoTraceId,
        ),
        (r#"{"id":"53995c3f","trace_id":"1-581cf771-a006649127e371903a2de979"}"#, SdkDocumentError::NoId),
        (r#"{"trace_id":"1-581cf771-a006649127e371903a2de979"}"#, SdkDocumentError::NoId),
    ] {
        assert_eq!(SdkDocument::parse(text.to_owned()), Err(expected), "{text}");
    }
}

#[test]
fn tv_20_100_nested_subsegments_of_2_kb_become_independent_with_ids_and_parents() {
    let steps: Vec<Value> = (1..=100).map(|number| nested(number, 2000, &[])).collect();
    let document = subsegment(&steps);
    let (documents, accounts) = translated(&document);
    let all = parsed(&documents);
    assert!(documents.iter().all(|one| one.json.len() <= MAX_DOCUMENT_BYTES));
    assert!((60..101).contains(&documents.len()), "no more than needed leave: {}", documents.len());
    let mut found = BTreeSet::new();
    for one in &all[1..] {
        assert_eq!(
            (&one["trace_id"], &one["type"], &one["parent_id"]),
            (&json!(TRACE), &json!("subsegment"), &json!(id(0)))
        );
        assert_eq!(one["metadata"]["default"]["text"].as_str().unwrap().len(), 2000);
        found.insert(one["id"].as_str().unwrap().to_owned());
    }
    for one in all[0]["subsegments"].as_array().unwrap() {
        assert!(one.get("parent_id").is_none());
        found.insert(one["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(found, (1..=100).map(id).collect());
    assert_eq!(documents.iter().map(|one| one.spans).sum::<u64>(), 101);
    assert_eq!(accounts.dropped(Reason::Oversize), 0);
}

#[test]
fn a_document_too_large_by_itself_is_shortened_like_any_other() {
    let frames: Vec<Value> =
        (0..30).map(|n| json!({"path": "/var/task/a.py", "line": n, "label": "f"})).collect();
    let exceptions = json!({"exceptions": [{"id": id(9), "message": "m", "truncated": 2, "stack": frames}]});
    let mut document = subsegment(&[]);
    document["cause"] = exceptions;
    document["metadata"] = json!({"default": {"long": "y".repeat(64_500)}, "other": {"k": 1}});
    let (documents, accounts) = translated(&document);
    let shortened = &parsed(&documents)[0];
    assert_eq!(shortened["cause"]["exceptions"][0]["truncated"], 27);
    let mut absurd = document.clone();
    absurd["cause"]["exceptions"][0]["truncated"] = u64::MAX.into();
    let shortened = &parsed(&translated(&absurd).0)[0];
    assert_eq!(shortened["cause"]["exceptions"][0]["truncated"], u64::MAX, "a count that cannot be right");
    assert!(shortened["metadata"]["default"]["long"].as_str().unwrap().ends_with("... (64500 characters)"));
    assert_eq!(accounts.to_json()["trimmed"]["document_shortened"], 1);

    let entries: Map<String, Value> =
        (0..2000).map(|n| (format!("key {n}"), json!("v".repeat(25)))).collect();
    document["metadata"] = json!({"default": entries, "other": {"k": 1}});
    let (documents, _) = translated(&document);
    let all = parsed(&documents);
    assert_eq!(all.len(), 3, "the document, and two for its metadata");
    assert_eq!(all[0]["metadata"], json!({"other": {"k": 1}}));
    assert_eq!((&all[1]["parent_id"], &all[1]["name"]), (&json!(id(0)), &json!("## work metadata 1/2")));
    let moved: usize = all[1..].iter().map(|one| one["metadata"]["default"].as_object().unwrap().len()).sum();
    assert_eq!(moved, 2000);

    document["aws"] = json!({"resource_names": "z".repeat(70_000)});
    let (documents, _) = translated(&document);
    assert_eq!(parsed(&documents)[0]["annotations"], json!({"truncated": true}));
    document["name"] = "n".repeat(70_000).into();
    let (documents, accounts) = translated(&document);
    assert!(documents.iter().all(|one| one.spans == 0));
    assert_eq!(accounts.dropped(Reason::Oversize), 1);
}

#[test]
fn lim_2_near_the_end_of_a_trace_documents_get_barer_and_then_are_counted() {
    let document = SdkDocument::parse(subsegment(&[]).to_string()).unwrap();
    for (bytes, has_metadata, sent) in
        [(0, true, 1), (RICH_BYTES, false, 1), (LEAN_BYTES, false, 1), (MAX_BYTES, false, 0)]
    {
        let mut state = TraceState::default();
        state.bytes = bytes;
        let (mut accounts, mut documents) = (Accounts::default(), Vec::new());
        translate(&document, &mut state, &mut accounts, &mut documents);
        assert_eq!(documents.len(), sent);
        assert!(documents.iter().all(|one| one.json.contains("metadata") == has_metadata));
        assert_eq!(accounts.dropped(Reason::TraceBudget), 1 - sent as u64);
    }
}

fn trees() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((any::<usize>(), 0..9000_usize), 1..40)
}

/// A tree in which each subsegment hangs under one of those before it.
fn tree(shape: &[(usize, usize)], at: usize) -> Value {
    let children: Vec<Value> = (1..shape.len())
        .filter(|child| *child != at && shape[*child].0 % *child == at)
        .map(|child| tree(shape, child))
        .collect();
    if at == 0 { subsegment(&children) } else { nested(at, shape[at].1, &children) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn tv_20_any_tree_keeps_its_ids_and_parents_within_the_limit(shape in trees()) {
        let document = tree(&shape, 0);
        let mut expected = BTreeMap::new();
        parents(&document, &mut expected);
        let (documents, accounts) = translated(&document);
        let mut found = BTreeMap::new();
        for one in parsed(&documents) {
            prop_assert!(one.to_string().len() <= MAX_DOCUMENT_BYTES);
            let own = one["id"].as_str().unwrap().to_owned();
            if own != id(0) {
                found.insert(own, one["parent_id"].as_str().unwrap().to_owned());
            }
            parents(&one, &mut found);
        }
        let sent: u64 = documents.iter().map(|one| one.spans).sum();
        prop_assert_eq!(sent + accounts.dropped(Reason::TraceBudget), shape.len() as u64);
        if accounts.dropped(Reason::TraceBudget) == 0 {
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[{\\[\":,a-z0-9}\\]]{0,80}") {
        let _ = SdkDocument::parse(text);
    }
}

/// Everything that X-Ray knows.
fn full() -> Value {
    json!({
        "id": id(0), "trace_id": TRACE, "parent_id": "53995c3f42cd8ad8", "type": "subsegment", "name": "## work",
        "start_time": 1_478_293_361.25, "end_time": 1_478_293_361.5, "namespace": "remote", "error": false, "fault": true,
        "http": {"request": {"method": "GET", "url": "https://h/"}, "response": {"status": 200, "content_length": 5}},
        "aws": {"operation": "GetItem", "retries": 2, "table_names": ["t", "u"], "xray": {"auto_instrumentation": true}},
        "sql": {"sanitized_query": "SELECT ?", "user": "u"}, "annotations": {"order": 7, "kind": "x", "paid": true},
        "metadata": {"default": {"none": null, "list": [null, {"none": null}]}, "other": null},
        "cause": {"working_directory": "/", "paths": ["/opt"], "exceptions": [
            {"id": id(8), "message": "m", "type": "T", "remote": false, "truncated": 0,
             "stack": [{"path": "a.py", "line": 1, "label": "f"}]}]},
        "links": [{"trace_id": TRACE, "id": id(5), "attributes": {"a": 1}}], "precursor_ids": [id(6)],
        "custom": {"deep": [1, {"a": 2}]},
        "subsegments": [{"id": id(1), "name": "inner", "start_time": 1.0, "end_time": 2.0, "sql": {"url": "x"},
            "metadata": {"default": {"none": null}}, "subsegments": [{"id": id(2), "name": "innermost", "start_time": 1.0,
            "end_time": 2.0}]}],
    })
}

/// The paths of all values in it, metadata's own aside.
fn paths(value: &Value, path: &str, into: &mut Vec<String>) {
    let mut visit = |name: String, inner: &Value| {
        let path = format!("{path}/{name}");
        if name != "metadata" {
            paths(inner, &path, into);
        }
        into.push(path);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(name, inner)| visit(name.clone(), inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, inner)| visit(at.to_string(), inner)),
        _ => {}
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(object) => object.iter().any(|(name, inner)| name != "metadata" && has_null(inner)),
        Value::Array(items) => items.iter().any(has_null),
        _ => false,
    }
}

#[test]
fn doc_1_null_means_absent_wherever_it_stands_but_in_metadata() {
    let mut all = Vec::new();
    paths(&full(), "", &mut all);
    assert!(all.len() > 70);
    // A link without its ids is none.
    let needed = ["/id", "/trace_id", "/links/0/id", "/links/0/trace_id"];
    for path in all.iter().filter(|path| !needed.contains(&path.as_str())) {
        let mut given = full();
        *given.pointer_mut(path).unwrap() = Value::Null;
        let (documents, accounts) = translated(&given);
        let mended = &parsed(&documents)[0];
        assert!(!has_null(mended), "{path}: {mended}");
        assert_eq!(accounts.to_json()["trimmed"].get("field_invalid"), None, "{path}: nothing was lost");
        // All else is as it was.
        for other in all.iter().filter(|other| !other.starts_with(path) && !path.starts_with(*other)) {
            let (holder, place) = path.rsplit_once('/').unwrap();
            let is_moved = place.parse::<u8>().is_ok() && other.starts_with(holder);
            if !is_moved {
                assert_eq!(mended.pointer(other), full().pointer(other), "{other} without {path}");
            }
        }
        let metadata = if path == "/metadata" { None } else { full().pointer("/metadata").cloned() };
        assert_eq!(mended.get("metadata").cloned(), metadata, "{path}");
    }
    let (documents, _) = translated(&full());
    assert_eq!(
        documents[0].json,
        full().to_string(),
        "what has none in the wrong place passes byte for byte"
    );
}

#[test]
fn doc_1_what_x_ray_can_t_do_without_is_made_of_what_is_there() {
    let mended = |path: &str, value: Value| {
        let mut given = full();
        *given.pointer_mut(path).unwrap() = value;
        let (documents, _) = translated(&given);
        (parsed(&documents).remove(0), documents[0].spans)
    };
    let (open, _) = mended("/end_time", Value::Null);
    assert_eq!((open.get("end_time"), &open["in_progress"]), (None, &json!(true)));
    assert_eq!(mended("/start_time", Value::Null).0["start_time"], full()["end_time"]);
    let nameless = mended("/subsegments/0", json!({"sql": null})).0["subsegments"][0].clone();
    assert_eq!(nameless["start_time"], full()["start_time"], "that of what it is in");
    assert_eq!((&nameless["name"], &nameless["in_progress"]), (&json!("unknown"), &json!(true)));
    assert_eq!(mended("/end_time", json!(1)).0["end_time"], full()["start_time"], "TIME-3");
    assert_eq!(mended("/name", Value::Null).0["name"], "unknown");
    assert_eq!(mended("/subsegments/0/end_time", Value::Null).0["subsegments"][0]["in_progress"], true);
    for path in ["/subsegments/0/id", "/cause/exceptions/0/id"] {
        let (once, spans) = mended(path, Value::Null);
        let (twice, _) = mended(path, "x".into());
        assert!(SpanId::parse(once.pointer(path).unwrap().as_str().unwrap()).is_some());
        assert_eq!((once.pointer(path), spans), (twice.pointer(path), 3), "the same again");
    }
}

#[test]
fn doc_1_a_value_of_the_wrong_type_is_rewritten_or_costs_its_field() {
    for (path, value, expected, lost) in [
        ("/name", json!(5), Some(json!("5")), 0),
        ("/start_time", json!("1478293361.25"), Some(json!(1_478_293_361.25)), 0),
        ("/end_time", json!("soon"), None, 1),
        ("/namespace", json!({"a": 1}), None, 1),
        ("/fault", json!("True"), Some(json!(true)), 0),
        ("/fault", json!("yes"), None, 1),
        ("/parent_id", json!("short"), None, 1),
        ("/http", json!("GET /"), None, 1),
        ("/http/request", json!([]), None, 1),
        ("/http/response/status", json!("200"), Some(json!(200)), 0),
        ("/http/response/status", json!(200.0), Some(json!(200)), 0),
        ("/http/response/status", json!(200.5), None, 1),
        ("/http/response/content_length", json!("many"), None, 1),
        ("/aws/retries", json!("3"), Some(json!(3)), 0),
        ("/aws/operation", json!(true), Some(json!("true")), 0),
        ("/aws/table_names", json!("t"), Some(json!(["t"])), 0),
        ("/aws/table_names", json!(["t", 5, {}, null]), Some(json!(["t", "5"])), 1),
        ("/aws/xray/auto_instrumentation", json!(1), None, 1),
        ("/sql", json!([1]), None, 1),
        ("/annotations", json!([]), None, 1),
        ("/annotations/kind", json!([1]), None, 1),
        ("/metadata", json!("loose"), Some(json!({"default": {"metadata": "loose"}})), 0),
        ("/cause", json!("it broke"), Some(json!({"message": "it broke"})), 0),
        ("/cause", json!("53995c3f42cd8ad8"), Some(json!("53995c3f42cd8ad8")), 0),
        ("/cause", json!(7), None, 1),
        ("/cause/exceptions", json!({}), None, 1),
        ("/cause/exceptions/0/truncated", json!("3"), Some(json!(3)), 0),
        ("/cause/exceptions/0/truncated", json!(-1), None, 1),
        ("/cause/exceptions/0/message", json!(404), Some(json!("404")), 0),
        ("/cause/exceptions/0/cause", json!("KeyError"), None, 1),
        ("/cause/exceptions/0/stack", json!("at f"), None, 1),
        ("/cause/exceptions/0/stack", json!(["at f", {"line": "7"}]), Some(json!([{"line": 7}])), 1),
        ("/links", json!([{"trace_id": "x", "id": id(5)}, 7]), Some(json!([])), 2),
        ("/subsegments", json!("none"), None, 1),
        ("/subsegments", json!([7]), Some(json!([])), 1),
    ] {
        let mut given = full();
        let slot = given.pointer_mut(path);
        if let Some(slot) = slot {
            *slot = value.clone();
        } else {
            given["cause"]["exceptions"][0]["cause"] = value.clone();
        }
        let (documents, accounts) = translated(&given);
        let mended = &parsed(&documents)[0];
        assert_eq!(mended.pointer(path), expected.as_ref(), "{path} {value}");
        let trimmed = accounts.to_json()["trimmed"].get("field_invalid").and_then(Value::as_u64);
        assert_eq!(trimmed.unwrap_or_default(), lost, "{path} {value}");
    }
    let mut given = full();
    given["annotations"] = json!({"list": [1], "kept": 1});
    let (documents, _) = translated(&given);
    let mended = &parsed(&documents)[0];
    assert_eq!(mended["annotations"], json!({"kept": 1}));
    assert_eq!(mended["metadata"]["annotations"], json!({"list": [1]}), "not lost, but no annotation");
}

#[test]
fn ann_2_what_is_no_json_costs_its_field_and_not_the_document() {
    let text =
        full().to_string().replace("\"order\":7", "\"order\":NaN").replace("innermost", "half \\ud83e");
    let document = SdkDocument::parse(text).unwrap();
    assert_eq!(document.spans(), 3);
    let mended: Value = serde_json::from_str(&document.json).unwrap();
    assert_eq!(mended["annotations"], json!({"kind": "x", "paid": true}));
    assert_eq!(mended["subsegments"][0]["subsegments"][0]["name"], "half \u{FFFD}");
}
