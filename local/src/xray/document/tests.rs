use super::*;
use proptest::prelude::*;
use serde_json::json;

fn good() -> Value {
    json!({"name": "checkout", "id": "70de5b6f19ff9a0a", "trace_id": "1-581cf771-a006649127e371903a2de979",
           "start_time": 1_478_293_361.271, "end_time": 1_478_293_361.449})
}

/// The good document with these fields set, and those that are null taken away.
fn with(changes: &Value) -> Result<Accepted, Rejection> {
    let mut document = good();
    for (field, value) in changes.as_object().unwrap() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(field);
        } else {
            document[field] = value.clone();
        }
    }
    validate(&document.to_string())
}

fn code_with(changes: &Value) -> Option<&'static str> {
    with(changes).err().map(|rejection| rejection.code)
}

#[test]
fn section_3_2_the_minimal_documents_are_accepted() {
    for text in [
        r#"{"name":"checkout","id":"70de5b6f19ff9a0a","trace_id":"1-581cf771-a006649127e371903a2de979","start_time":1478293361.271000,"end_time":1478293361.449000}"#,
        r#"{"type":"subsegment","name":"DynamoDB","id":"53995c3f42cd8ad8","parent_id":"70de5b6f19ff9a0a","trace_id":"1-581cf771-a006649127e371903a2de979","start_time":1478293361.300000,"end_time":1478293361.400000,"namespace":"aws","aws":{"operation":"GetItem","region":"eu-west-1"}}"#,
        r#"{"name":"checkout","id":"70de5b6f19ff9a0a","trace_id":"1-581cf771-a006649127e371903a2de979","start_time":1478293361.271000,"in_progress":true}"#,
    ] {
        let accepted = validate(text).unwrap();
        assert_eq!(accepted.warnings, Vec::<String>::new());
        assert_eq!(accepted.is_segment, !text.contains("subsegment"));
        assert_eq!(accepted.in_progress, text.contains("in_progress"));
        assert_eq!(accepted.parent_id.is_some(), text.contains("parent_id"));
        assert_eq!(accepted.bytes, text.len());
    }
}

#[test]
fn codes_by_rule() {
    for (changes, code) in [
        (json!({"id": null}), "MissingId"),
        (json!({"id": "70de5b6f19ff9a0"}), "InvalidId"),
        (json!({"id": "0000000000000000"}), "InvalidId"),
        (json!({"id": 1}), "InvalidId"),
        (json!({"name": null}), "MissingName"),
        (json!({"name": "GET /users/{id}?x=1,2"}), "InvalidName"),
        (json!({"name": "tab\there"}), "InvalidName"),
        (json!({"name": "back\\slash"}), "InvalidName"),
        (json!({"name": "emoji 🦀"}), "InvalidName"),
        (json!({"name": ""}), "InvalidName"),
        (json!({"name": "ä".repeat(201)}), "InvalidName"),
        (json!({"trace_id": null}), "MissingTraceId"),
        (json!({"trace_id": "1-581cf771-a006"}), "InvalidTraceId"),
        (json!({"trace_id": "5759e988bd862e3fe1be46a994272793"}), "InvalidTraceId"),
        (json!({"trace_id": "1-00000000-000000000000000000000000"}), "InvalidTraceId"),
        (json!({"type": "subsegment"}), "MissingParentId"),
        (json!({"type": "subsegment", "parent_id": "1"}), "InvalidParentId"),
        (json!({"type": "span"}), "InvalidSegment"),
        (json!({"start_time": "now"}), "InvalidSegment"),
        (json!({"start_time": null}), "MissingStartTime"),
        (json!({"end_time": null}), "MissingEndTime"),
        (json!({"end_time": null, "in_progress": false}), "MissingEndTime"),
        (json!({"end_time": 0}), "InvalidSegment"),
        (json!({"in_progress": true}), "InvalidSegment"),
        (json!({"in_progress": "no"}), "InvalidSegment"),
        (json!({"fault": "yes"}), "InvalidSegment"),
        (json!({"cause": "x"}), "InvalidSegment"),
        (json!({"subsegments": [{"name": "a"}]}), "MissingId"),
        (json!({"subsegments": [1]}), "InvalidSegment"),
        (json!({"subsegments": {}}), "InvalidSegment"),
    ] {
        assert_eq!(code_with(&changes), Some(code), "{changes}");
    }
}

#[test]
fn doc_1_what_is_no_object_has_no_id() {
    for (text, code) in
        [("[]", "MissingId"), ("1", "MissingId"), ("{", "InvalidSegment"), ("", "InvalidSegment")]
    {
        let rejection = validate(text).unwrap_err();
        assert_eq!((rejection.id, rejection.code), (None, code), "{text:?}");
    }
}

#[test]
fn pts_5_a_message_names_field_value_and_rule_and_stays_short() {
    let rejection = with(&json!({"name": "a,b"})).unwrap_err();
    assert_eq!(rejection.id.as_deref(), Some("70de5b6f19ff9a0a"));
    assert_eq!(
        rejection.message,
        "name \"a,b\" is not 1 to 200 letters, numbers, blanks and _.:/%&#=+-@ (NAME-1, NAME-2)"
    );
    assert!(with(&json!({"name": "x".repeat(60_000)})).unwrap_err().message.len() < 250);
}

#[test]
fn lim_1_the_size_of_a_document() {
    let sized = |bytes: usize| {
        let mut document = good();
        document["metadata"] = json!({"default": {"x": ""}});
        let padding = "y".repeat(bytes - document.to_string().len());
        document["metadata"]["default"]["x"] = json!(padding);
        validate(&document.to_string()).map(|accepted| accepted.warnings.len())
    };
    assert_eq!(sized(64_000).unwrap(), 0);
    assert_eq!(sized(64_001).unwrap(), 1);
    assert_eq!(sized(65_536).unwrap(), 1);
    let refused = sized(65_537).unwrap_err();
    assert_eq!((refused.id.as_deref(), refused.code), (Some("70de5b6f19ff9a0a"), "InvalidSegment"));
    assert_eq!(refused.message, "65537 bytes are over the limit of 65536 (LIM-1)");
}

#[test]
fn id_5_a_trace_id_of_any_age_and_name_1_any_script_are_fine() {
    for changes in [
        json!({"trace_id": "1-ffffffff-a006649127e371903a2de979"}),
        json!({"trace_id": "1-00000000-a006649127e371903a2de979"}),
        json!({"trace_id": "1-581CF771-A006649127E371903A2DE979"}),
        json!({"name": "日本語 名前 ٣"}),
        json!({"name": "a_b.c:d/e%f&g#h=i+j-k@l"}),
        json!({"name": "ä".repeat(200)}),
        json!({"end_time": 1_478_293_361.271}),
        json!({"unknown_field": [1]}),
    ] {
        assert_eq!(code_with(&changes), None, "{changes}");
    }
}

#[test]
fn what_the_service_tolerates_is_told_as_a_warning() {
    let nested = |more: Value| {
        let mut nested = good();
        nested.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"subsegments": [nested]})
    };
    for (changes, warning) in [
        (json!({"type": "segment"}), "segments carry no type"),
        (json!({"parent_id": "70de5b6f19ff9a0a"}), "is the document's own id (MAP-S2)"),
        (json!({"namespace": "aws"}), "namespace is for subsegments"),
        (
            json!({"type": "subsegment", "parent_id": "70de5b6f19ff9a0b", "namespace": "x"}),
            "namespace \"x\" is not",
        ),
        (json!({"in_progress": false}), "only written when true"),
        (json!({"end_time": 1_478_293_361_271_u64}), "end_time 1478293361271 is not in seconds since 1970"),
        (nested(json!({})), "id 70de5b6f19ff9a0a occurs more than once in the document (ID-3)"),
        (
            nested(json!({"id": "70de5b6f19ff9a0b", "parent_id": "70de5b6f19ff9a0c"})),
            "parent_id of a nested subsegment is not the enclosing id (DOC-5)",
        ),
        (nested(json!({"id": "70de5b6f19ff9a0b", "user": "u"})), "user is for segments"),
    ] {
        let warnings = with(&changes).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(warning), "{changes}: {warnings:?}");
    }
}

#[test]
fn doc_5_nested_subsegments_are_judged_at_any_depth() {
    let deep = |depth: u64, name: &str| {
        (1..=depth).rev().fold(Value::Null, |inner, level| {
            let mut node = good();
            node["id"] = json!(format!("{level:016x}"));
            if inner.is_null() {
                node["name"] = json!(name);
            } else {
                node["subsegments"] = json!([inner]);
            }
            node
        })
    };
    assert_eq!(validate(&deep(50, "fine").to_string()).map(|accepted| accepted.warnings), Ok(vec![]));
    assert_eq!(validate(&deep(50, "not,fine").to_string()).unwrap_err().code, "InvalidName");
    // Deeper than the parser goes.
    assert_eq!(validate(&deep(100, "fine").to_string()).unwrap_err().code, "InvalidSegment");
}

/// JSON whose keys are mostly those of documents.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(?s).{0,20}".prop_map(Value::from),
        Just(json!("subsegment")),
        Just(json!("70de5b6f19ff9a0a")),
        Just(json!("1-581cf771-a006649127e371903a2de979")),
    ];
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "id", "name", "trace_id", "parent_id", "type", "start_time", "end_time", "in_progress", "namespace", "http",
            "request", "response", "url", "status", "aws", "xray", "sql", "cause", "exceptions", "stack", "line",
            "annotations", "metadata", "links", "subsegments", "fault", "precursor_ids", "service",
        ]).prop_map(str::to_owned),
        1 => ".{0,8}",
    ];
    leaf.prop_recursive(6, 80, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_judged_without_panic(value in json_value(), field in "[a-z_]{1,12}") {
        let _ = validate(&value.to_string());
        let mut document = good();
        document[&field] = value.clone();
        let _ = validate(&document.to_string());
        let mut document = good();
        if let (Value::Object(document), Value::Object(fields)) = (&mut document, value) {
            document.extend(fields);
        }
        let _ = validate(&document.to_string());
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "(?s).{0,80}", cut in 0_usize..150) {
        let _ = validate(&text);
        let document = good().to_string();
        let _ = validate(&document[..cut.min(document.len())]);
    }
}
