//! A trace put together from its documents.

use super::document::Accepted;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

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
        let mut nodes = Vec::new();
        for document in documents {
            flatten(&document.body, document.is_segment, document.parent_id.clone(), &mut nodes);
        }
        let known: HashSet<String> = nodes.iter().map(|(node, _)| node.id.clone()).collect();
        let mut below: HashMap<String, Vec<Node>> = HashMap::new();
        let (mut roots, mut orphans) = (Vec::new(), Vec::new());
        for (node, parent) in nodes {
            match parent.filter(|parent| known.contains(parent) && *parent != node.id) {
                Some(parent) => below.entry(parent).or_default().push(node),
                None if node.is_segment => roots.push(node),
                None => orphans.push(node),
            }
        }
        for list in [&mut roots, &mut orphans] {
            for node in list.iter_mut() {
                adopt(node, &mut below);
            }
            sort(list);
        }
        // What is left hangs in a circle, below nothing that can be shown.
        orphans.extend(below.into_values().flatten());
        Self { id: id.to_owned(), roots, orphans }
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
    pub fn span_seconds(&self) -> (f64, f64) {
        let nodes = self.nodes();
        let start = nodes.iter().map(|node| node.start_seconds()).fold(f64::INFINITY, f64::min);
        let end =
            nodes.iter().map(|node| node.end_seconds().unwrap_or(node.start_seconds())).fold(start, f64::max);
        if start.is_finite() { (start, end) } else { (0.0, 0.0) }
    }
}

/// Takes nested subsegments out of their documents: their parent is what encloses them (DOC-5).
fn flatten(
    body: &Map<String, Value>,
    is_segment: bool,
    parent: Option<String>,
    out: &mut Vec<(Node, Option<String>)>,
) {
    let mut body = body.clone();
    let nested = body.remove("subsegments");
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    out.push((Node { id: id.clone(), is_segment, body, children: Vec::new() }, parent));
    for one in nested.as_ref().and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(one) = one {
            flatten(one, false, Some(id.clone()), out);
        }
    }
}

fn adopt(node: &mut Node, below: &mut HashMap<String, Vec<Node>>) {
    node.children = below.remove(&node.id).unwrap_or_default();
    node.children.iter_mut().for_each(|child| adopt(child, below));
    sort(&mut node.children);
}

fn sort(nodes: &mut [Node]) {
    nodes.sort_by(|a, b| a.start_seconds().total_cmp(&b.start_seconds()).then_with(|| a.id.cmp(&b.id)));
}
