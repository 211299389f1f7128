//! The service map: which nodes and edges documents make (MAP-S1 to MAP-S4).

use super::trace::{Node, Trace};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Counts {
    total: u64,
    error: u64,
    throttle: u64,
    fault: u64,
    seconds: f64,
}

impl Counts {
    fn add(&mut self, node: &Node) {
        self.total += 1;
        self.error += u64::from(node.flag("error"));
        self.throttle += u64::from(node.flag("throttle"));
        self.fault += u64::from(node.flag("fault"));
        self.seconds += node.end_seconds().map_or(0.0, |end| end - node.start_seconds());
    }

    fn to_json(&self) -> Value {
        let failed = self.error + self.fault;
        json!({
            "OkCount": self.total.saturating_sub(failed),
            "ErrorStatistics": {"ThrottleCount": self.throttle, "TotalCount": self.error},
            "FaultStatistics": {"TotalCount": self.fault},
            "TotalCount": self.total,
            "TotalResponseTime": self.seconds,
        })
    }
}

/// Name and type: what makes a node (MAP-S1).
type Key = (String, String);

#[derive(Debug, Default)]
struct Graph {
    nodes: BTreeMap<Key, (Counts, bool)>,
    edges: BTreeMap<(Key, Key), Counts>,
}

/// The services of these traces, in the shape of `GetServiceGraph`.
pub(super) fn service_graph(traces: &[Trace]) -> Vec<Value> {
    let mut graph = Graph::default();
    for trace in traces {
        for root in &trace.roots {
            graph.visit(root, None);
        }
    }
    let ids: BTreeMap<&Key, usize> = graph.nodes.keys().enumerate().map(|(id, key)| (key, id)).collect();
    graph
        .nodes
        .iter()
        .map(|(key, (counts, root))| {
            let edges: Vec<Value> = graph
                .edges
                .iter()
                .filter(|((from, _), _)| from == key)
                .map(|((_, to), counts)| json!({"ReferenceId": ids.get(to), "SummaryStatistics": counts.to_json()}))
                .collect();
            json!({
                "ReferenceId": ids.get(key), "Name": key.0, "Names": [key.0], "Type": key.1, "Root": root,
                "Edges": edges, "SummaryStatistics": counts.to_json(),
            })
        })
        .collect()
}

impl Graph {
    /// `from` is the service the node belongs to.
    fn visit(&mut self, node: &Node, from: Option<&Key>) {
        let own = if node.is_segment {
            Some((node.name().to_owned(), node.text("/origin").to_owned()))
        } else {
            // A real segment below replaces the inferred node (MAP-S3); without a namespace there is none (MAP-S4).
            let called = node.children.iter().any(|child| child.is_segment);
            match node.text("/namespace") {
                "aws" if !called => Some((node.name().to_owned(), format!("AWS::{}", node.name()))),
                "remote" if !called => Some((node.name().to_owned(), "remote".to_owned())),
                _ => None,
            }
        };
        if let Some(own) = &own {
            self.nodes.entry(own.clone()).or_insert_with(|| (Counts::default(), from.is_none())).0.add(node);
            if let Some(from) = from.filter(|from| *from != own) {
                self.edges.entry((from.clone(), own.clone())).or_default().add(node);
            }
        }
        let service = if node.is_segment { own.as_ref() } else { from };
        for child in &node.children {
            self.visit(child, service);
        }
    }
}
