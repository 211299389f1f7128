use super::*;
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

fn collected(id: u32, name: &str) -> Collected {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: (u64::from(id) + 1).to_be_bytes().to_vec(),
        parent_span_id: vec![9; 8],
        name: name.into(),
        start_time_unix_nano: 5,
        ..Span::default()
    };
    Collected { span: Box::new(span), origin: Arc::default(), request_id: None }
}

fn with(change: impl Fn(&mut Span), mut collected: Collected) -> Collected {
    change(&mut collected.span);
    collected
}

fn store(limit_bytes: usize) -> Store {
    Store::new(Ledger::new(limit_bytes), false)
}

fn take(store: &mut Store, waits: impl Fn(&Packed) -> bool) -> Vec<Collected> {
    store.take(waits, Batch::default()).whole().spans
}

fn assert_nothing_is_left(store: Store) {
    assert_eq!((store.held(), store.bytes, store.traces.len()), (0, 0, 0));
    let ledger = store.ledger.clone();
    drop(store);
    assert_eq!(ledger.held_bytes(), 0);
}

#[test]
fn a_started_span_is_received_once_and_its_end_replaces_it() {
    let mut store = store(10_000);
    store.start(Connection(0), &collected(1, "open"));
    assert!(!store.has_complete(|_| false));
    store.end(&collected(1, "whole"));
    assert_eq!(take(&mut store, |_| false)[0].span.name, "whole");
    assert!(store.accounts.balance(1), "handed out, not yet sent");
    assert_nothing_is_left(store);
}

#[test]
fn what_waits_stays_and_is_still_accounted_for() {
    let mut store = store(10_000);
    (1..=3).for_each(|id| store.end(&collected(id, "span")));
    let waits = |one: &Packed| one.head().id != SpanId::from_bytes(&3_u64.to_be_bytes());
    assert!(store.has_complete(waits) && !store.has_complete(|_| true));
    assert_eq!(take(&mut store, waits).len(), 1);
    assert!(!store.has_complete(waits) && store.accounts.balance(3));
    assert_eq!(take(&mut store, |_| false).len(), 2);
    assert_nothing_is_left(store);
}

#[test]
fn what_is_taken_out_open_comes_back_complete() {
    let mut store = store(10_000);
    store.start(Connection(0), &collected(1, "handler"));
    store.start(Connection(1), &collected(2, "other"));
    let taken = store.take_open(|open| open.connection == Connection(0));
    assert_eq!((taken.len(), store.held()), (1, 1));
    store.closed(taken[0].packed.unpack().as_ref());
    assert_eq!(take(&mut store, |_| false)[0].span.name, "handler");
    assert!(store.accounts.balance(2), "one handed out, one open");
}

#[test]
fn doc_2_an_open_span_is_told_of_once() {
    let mut store = store(10_000);
    let told = |store: &mut Store, before| {
        store.untold(before, Batch::default()).map_or(0, |load| load.whole().spans.len())
    };
    store.start(Connection(0), &collected(1, "handler"));
    assert_eq!(told(&mut store, 4), 0, "it began at 5");
    assert_eq!(told(&mut store, 5), 1);
    assert_eq!(told(&mut store, 9), 0);
    assert_eq!(store.held(), 1, "a copy is no span");
    assert!(store.accounts.balance(1));
}

#[test]
fn memory_is_bounded_the_oldest_goes_and_is_counted() {
    let mut store = store(4000);
    for id in 1..=500 {
        store.end(&collected(id, "some span"));
    }
    assert!(store.bytes <= 4000 && store.ledger.held_bytes() <= 4000 + 1000);
    assert!(store.accounts.balance(store.held() as u64));
    assert!(store.accounts.dropped(Reason::BufferFull) > 400);
    let spans = take(&mut store, |_| false);
    assert_eq!(spans.last().unwrap().span.span_id, 501_u64.to_be_bytes());
}

#[test]
fn memory_counts_what_a_span_takes_and_not_what_it_is_on_the_wire() {
    let mut store = store(1 << 20);
    for id in 1..=20_000 {
        store.end(&with(
            |span| span.trace_id = (u128::from(id) + 1).to_be_bytes().to_vec(),
            collected(id, ""),
        ));
    }
    assert!(store.held() * (PLACE_BYTES + 48) <= 1 << 20, "{} spans", store.held());
}

#[test]
fn what_waits_elsewhere_leaves_less_room_but_never_none() {
    let mut store = store(40_000);
    (1..=500).for_each(|id| store.end(&collected(id, "span")));
    let alone = store.held();
    let waiting = store.ledger.charge(30_000);
    (501..=1000).for_each(|id| store.end(&collected(id, "span")));
    let beside = store.held();
    assert!(beside < alone / 2 && beside > alone / 8, "{alone} and {beside}");
    drop(waiting);
    (1001..=2000).for_each(|id| store.end(&collected(id, "span")));
    assert_eq!(store.held(), alone);
}

#[test]
fn lim_2_of_a_trace_far_past_what_x_ray_takes_the_telling_spans_are_kept() {
    let mut store = store(64 << 20);
    store.start(Connection(0), &with(|span| span.flags = 0x301, collected(0, "handler")));
    let long = "n".repeat(1000);
    for id in 1..=10_000 {
        store.end(&collected(id, &long));
    }
    let failed = Some(Status { code: StatusCode::Error.into(), message: String::new() });
    for id in 10_001..=10_010 {
        store.end(&with(|span| span.status.clone_from(&failed), collected(id, &long)));
        store.start(Connection(0), &collected(id + 1000, &long));
    }
    store.end(&with(|span| span.flags = 0x301, collected(0, "handler")));
    assert_eq!(store.accounts.dropped(Reason::BufferFull), 0);
    assert!(store.accounts.dropped(Reason::TraceBudget) > 7000);
    assert!(store.traces.values().all(|bytes| *bytes < MAX_TRACE_BYTES));
    assert!(store.accounts.balance(store.held() as u64));
    let kept = take(&mut store, |_| false);
    let count = |is_it: &dyn Fn(&Span) -> bool| kept.iter().filter(|one| is_it(&one.span)).count();
    assert_eq!((count(&|span| span.status.is_some()), count(&|span| span.name == "handler")), (10, 1));
    assert_eq!(store.open.len(), 10, "what may be waited for");
    assert!(count(&|span| span.name == long) > 1000);
    // Another trace has its own room.
    store.end(&with(|span| span.trace_id = vec![8; 16], collected(1, &long)));
    assert_eq!(store.held(), 11);
}

#[test]
fn where_whole_traces_are_taken_only_the_memory_bounds_them() {
    let mut store = Store::new(Ledger::new(64 << 20), true);
    let long = "n".repeat(1000);
    (1..=10_000).for_each(|id| store.end(&collected(id, &long)));
    assert_eq!(store.held(), 10_000);
}

#[test]
fn open_spans_without_number_are_bounded_and_the_first_stay() {
    let mut store = store(100_000);
    store.start(Connection(0), &with(|span| span.flags = 0x301, collected(0, "handler")));
    for id in 1..=2000 {
        store.start(
            Connection(0),
            &with(|span| span.trace_id[0] = 7 + (id % 200) as u8, collected(id, "call")),
        );
    }
    assert!(store.bytes <= 100_000 && store.accounts.balance(store.held() as u64));
    let open = store.take_open(|_| true);
    assert!(open.iter().any(|open| open.packed.head().id == SpanId::from_bytes(&1_u64.to_be_bytes())));
}

#[test]
fn one_origin_is_held_once() {
    let mut store = store(1 << 20);
    let origin = || {
        let attribute = super::super::origin::text("service.name", &"s".repeat(5000));
        let mut origin = Origin::default();
        origin.resource.attributes.push(attribute);
        Arc::new(origin)
    };
    for id in 1..=100 {
        store.end(&Collected { origin: store.same_origin(origin()), ..collected(id, "span") });
    }
    assert_eq!(store.held(), 100);
    let of_spans = store.bytes;
    assert!((5000..10_000).contains(&(store.ledger.held_bytes() - of_spans)));
    drop(store.take(|_| false, Batch::default()));
    assert_nothing_is_left(store);
}

#[test]
fn a_flood_of_documents_costs_no_span_and_a_flood_of_spans_no_document() {
    let document = |number: u64| {
        let text = format!(
            r#"{{"id":"{:016x}","trace_id":"1-581cf771-{number:024x}","name":"flood","start_time":1,"end_time":2}}"#,
            number + 1
        );
        SdkDocument::parse(text).unwrap()
    };
    let mut store = store(40_000);
    store.end(&collected(1, "handler"));
    (0..1000).for_each(|number| store.keep_document(document(number)));
    assert_eq!(take(&mut store, |_| false).len(), 1);
    store.keep_document(document(1));
    (1..1000).for_each(|id| store.end(&collected(id, "span")));
    assert_eq!(store.take(|_| false, Batch::default()).whole().sdk_documents.len(), 1);
    assert_nothing_is_left(store);
}
