//! A trace put together from its documents.

use crate::xray::document::Accepted;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A segment or subsegment with what hangs below it, in the order of their beginnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub id: String,
    pub is_segment: bool,
    pub body: Map<String, Value>,
    pub children: Vec<Node>,
}

/// One trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub id: String,
    /// Segments that hang on nothing that is here.
    pub roots: Vec<Node>,
    /// Subsegments whose parent never came: X-Ray does not show them (MAP-S6).
    pub orphans: Vec<Node>,
    /// Ids that several nodes had, nested ones included; one of each is kept (ID-3).
    pub repeated: Vec<String>,
}

impl Node {
    pub fn text(&self, pointer: &str) -> &str {
        self.value(pointer).as_str().unwrap_or_default()
    }

    /// A value in the document by JSON pointer; null when it is not there.
    pub fn value(&self, pointer: &str) -> &Value {
        let mut parts = pointer.trim_start_matches('/').splitn(2, '/');
        let field = self.body.get(parts.next().unwrap_or_default()).unwrap_or(&Value::Null);
        match parts.next() {
            Some(rest) => field.pointer(&format!("/{rest}")).unwrap_or(&Value::Null),
            None => field,
        }
    }

    pub fn name(&self) -> &str {
        self.text("/name")
    }

    pub fn start_seconds(&self) -> f64 {
        self.value("/start_time").as_f64().unwrap_or(0.0)
    }

    /// `None` while in progress.
    pub fn end_seconds(&self) -> Option<f64> {
        self.value("/end_time").as_f64()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.body.get(name) == Some(&Value::Bool(true))
    }

    /// This node and all below it.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        for child in &self.children {
            child.walk(visit);
        }
    }
}

impl Trace {
    pub(super) fn assemble(id: &str, documents: &[Accepted]) -> Self {
        let mut flat = Vec::new();
        for document in documents {
            flatten(&document.body, document.is_segment, document.parent_id.clone(), &mut flat);
        }
        let mut repeated = BTreeSet::new();
        let mut nodes: BTreeMap<String, Flat> = BTreeMap::new();
        for one in flat {
            match nodes.get_mut(&one.node.id) {
                None => {
                    nodes.insert(one.node.id.clone(), one);
                }
                Some(kept) => {
                    repeated.insert(one.node.id.clone());
                    if one.outranks(kept) {
                        *kept = one;
                    }
                }
            }
        }
        let known: BTreeSet<String> = nodes.keys().cloned().collect();
        let mut below: BTreeMap<String, Vec<Node>> = BTreeMap::new();
        let (mut roots, mut orphans) = (Vec::new(), Vec::new());
        for Flat { node, parent } in nodes.into_values() {
            match parent.filter(|parent| known.contains(parent) && *parent != node.id) {
                Some(parent) => below.entry(parent).or_default().push(node),
                None if node.is_segment => roots.push(node),
                None => orphans.push(node),
            }
        }
        for node in roots.iter_mut().chain(&mut orphans) {
            adopt(node, &mut below);
        }
        // What is left hangs in circles, below nothing that can be shown. Each circle is cut open somewhere.
        while let Some((_, mut left)) = below.pop_first() {
            for node in &mut left {
                adopt(node, &mut below);
            }
            orphans.append(&mut left);
        }
        sort(&mut roots);
        sort(&mut orphans);
        Self { id: id.to_owned(), roots, orphans, repeated: repeated.into_iter().collect() }
    }

    /// Every node, roots first.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes = Vec::new();
        for node in self.roots.iter().chain(&self.orphans) {
            node.walk(&mut |node| nodes.push(node));
        }
        nodes
    }

    /// The first node of that name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.nodes().into_iter().find(|node| node.name() == name)
    }

    /// Begin and end over all nodes, in seconds since 1970.
    pub fn start_and_end_seconds(&self) -> (f64, f64) {
        let nodes = self.nodes();
        let start = nodes.iter().map(|node| node.start_seconds()).fold(f64::INFINITY, f64::min);
        let end =
            nodes.iter().map(|node| node.end_seconds().unwrap_or(node.start_seconds())).fold(start, f64::max);
        if start.is_finite() { (start, end) } else { (0.0, 0.0) }
    }
}

/// Which of two documents of one id stays, whichever came first: a segment is not replaced by a subsegment (LAM-3), nor a
/// finished document by one in progress (DOC-2); after that the later end stays.
pub(super) fn outranks(one: (bool, &Map<String, Value>), other: (bool, &Map<String, Value>)) -> bool {
    compare(one, other).is_gt()
}

fn compare(one: (bool, &Map<String, Value>), other: (bool, &Map<String, Value>)) -> Ordering {
    let end = |body: &Map<String, Value>| body.get("end_time").and_then(Value::as_f64);
    let finished = |body: &Map<String, Value>| body.get("in_progress") != Some(&Value::Bool(true));
    let text = |body: &Map<String, Value>| Value::Object(body.clone()).to_string();
    (one.0.cmp(&other.0))
        .then(finished(one.1).cmp(&finished(other.1)))
        .then(end(one.1).partial_cmp(&end(other.1)).unwrap_or(Ordering::Equal))
        .then_with(|| text(one.1).cmp(&text(other.1)))
}

/// A node by itself, and what it hangs on.
struct Flat {
    node: Node,
    parent: Option<String>,
}

impl Flat {
    fn outranks(&self, other: &Self) -> bool {
        compare((self.node.is_segment, &self.node.body), (other.node.is_segment, &other.node.body))
            .then_with(|| self.parent.cmp(&other.parent))
            .is_gt()
    }
}

/// Takes nested subsegments out of their documents: their parent is what encloses them (DOC-5).
fn flatten(body: &Map<String, Value>, is_segment: bool, parent: Option<String>, out: &mut Vec<Flat>) {
    let mut body = body.clone();
    let nested = body.remove("subsegments");
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    out.push(Flat { node: Node { id: id.clone(), is_segment, body, children: Vec::new() }, parent });
    for one in nested.as_ref().and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(one) = one {
            flatten(one, false, Some(id.clone()), out);
        }
    }
}

fn adopt(node: &mut Node, below: &mut BTreeMap<String, Vec<Node>>) {
    node.children = below.remove(&node.id).unwrap_or_default();
    node.children.iter_mut().for_each(|child| adopt(child, below));
    sort(&mut node.children);
}

fn sort(nodes: &mut [Node]) {
    nodes.sort_by(|a, b| a.start_seconds().total_cmp(&b.start_seconds()).then_with(|| a.id.cmp(&b.id)));
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use serde_json::json;

    const TRACE: &str = "1-581cf771-a006649127e371903a2de979";

    fn document(id: u64, parent: u64, more: &Value) -> String {
        let mut document = json!({"name": format!("n{id}"), "id": format!("{id:016x}"), "trace_id": TRACE,
            "start_time": id, "end_time": id + 1});
        if parent > 0 {
            document["type"] = json!("subsegment");
            document["parent_id"] = json!(format!("{parent:016x}"));
        }
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document.to_string()
    }

    fn assemble(documents: Vec<String>) -> Trace {
        let store = Store::default();
        assert_eq!(store.put_documents(documents), []);
        store.trace(&TRACE.to_uppercase()).unwrap()
    }

    /// `name(child child)`.
    fn shape(nodes: &[Node]) -> String {
        let shapes: Vec<String> = nodes
            .iter()
            .map(|node| match shape(&node.children) {
                below if below.is_empty() => node.name().to_owned(),
                below => format!("{}({below})", node.name()),
            })
            .collect();
        shapes.join(" ")
    }

    #[test]
    fn doc_4_doc_5_nested_and_independent_subsegments_make_one_tree() {
        let nested = json!({"subsegments": [{"name": "nested", "id": "00000000000000aa", "start_time": 1, "end_time": 2,
            "subsegments": [{"name": "deeper", "id": "00000000000000ab", "start_time": 1, "end_time": 2}]}]});
        let trace = assemble(vec![
            document(4, 0xab, &json!({})),
            document(3, 0xaa, &json!({})),
            document(2, 0, &json!({"parent_id": "0000000000000001"})),
            document(1, 0, &nested),
        ]);
        assert_eq!(shape(&trace.roots), "n1(nested(deeper(n4) n3) n2)");
        assert!(trace.roots[0].children[1].is_segment, "a segment below its upstream (MAP-S2)");
        assert_eq!((trace.orphans, trace.repeated), (vec![], vec![]));
        assert!(trace.roots[0].value("/subsegments").is_null(), "they are children now");
    }

    #[test]
    fn map_s6_orphans_and_circles_are_apart_and_nothing_is_lost() {
        let trace = assemble(vec![
            document(1, 0, &json!({})),
            document(3, 9, &json!({})),
            document(4, 3, &json!({})),
            document(5, 6, &json!({})),
            document(6, 5, &json!({})),
            document(7, 7, &json!({})),
        ]);
        assert_eq!(shape(&trace.roots), "n1");
        assert_eq!(shape(&trace.orphans), "n3(n4) n6(n5) n7");
        assert_eq!(trace.nodes().len(), 6);
    }

    #[test]
    fn id_3_one_of_each_id_is_kept_and_the_repetition_is_known() {
        let nested = |more: Value| {
            let mut node = json!({"name": "n2", "id": "0000000000000002", "start_time": 2});
            node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"subsegments": [node]})
        };
        let trace =
            assemble(vec![document(1, 0, &nested(json!({"in_progress": true}))), document(2, 1, &json!({}))]);
        assert_eq!(shape(&trace.roots), "n1(n2)");
        assert_eq!(trace.find("n2").unwrap().end_seconds(), Some(3.0));
        assert_eq!(trace.repeated, ["0000000000000002"]);
    }

    #[test]
    fn a_chain_as_deep_as_a_trace_can_hold_is_assembled() {
        let trace = assemble((1..=2500).map(|id| document(id, id - 1, &json!({}))).collect());
        assert_eq!((trace.roots.len(), trace.orphans.len(), trace.nodes().len()), (1, 0, 2500));
        assert_eq!(trace.clone(), trace);
        assert_eq!(trace.start_and_end_seconds(), (1.0, 2501.0));
    }
}
