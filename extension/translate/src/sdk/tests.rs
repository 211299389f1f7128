use super::*;
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
        "end_time":2e0,"unknown":[],"aws":{"operation":"GetItem"},"subsegments":[{"id":"0000000000000009","name":"a"}]}"#;
    let document = SdkDocument::parse(spaced.to_owned()).unwrap();
    assert_eq!((document.spans(), document.is_segment), (2, false));
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
