//! The service map: which nodes and edges documents make (MAP-S1 to MAP-S4).

use super::trace::{Node, Trace};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Counts {
    total: u64,
    ok: u64,
    error: u64,
    throttle: u64,
    fault: u64,
    seconds: f64,
}

impl Counts {
    fn add(&mut self, node: &Node) {
        self.total += 1;
        self.ok += u64::from(!node.flag("error") && !node.flag("fault") && !node.flag("throttle"));
        self.error += u64::from(node.flag("error"));
        self.throttle += u64::from(node.flag("throttle"));
        self.fault += u64::from(node.flag("fault"));
        self.seconds += node.end_seconds().map_or(0.0, |end| end - node.start_seconds());
    }

    fn to_json(&self) -> Value {
        json!({
            "OkCount": self.ok,
            "ErrorStatistics": {
                "ThrottleCount": self.throttle,
                "OtherCount": self.error.saturating_sub(self.throttle),
                "TotalCount": self.error,
            },
            "FaultStatistics": {"OtherCount": self.fault, "TotalCount": self.fault},
            "TotalCount": self.total,
            "TotalResponseTime": self.seconds,
        })
    }
}

/// Name and type: what makes a node (MAP-S1).
type Key = (String, String);

#[derive(Debug, Default)]
struct Service {
    counts: Counts,
    times: Times,
    /// Something began here.
    root: bool,
}

#[derive(Debug, Default)]
struct Edge {
    counts: Counts,
    times: Times,
}

/// First and last second in which something was seen.
#[derive(Debug, Default)]
struct Times(Option<(f64, f64)>);

impl Times {
    fn add(&mut self, node: &Node) {
        let start = node.start_seconds();
        let end = node.end_seconds().unwrap_or(start);
        let (first, last) = self.0.unwrap_or((start, end));
        self.0 = Some((first.min(start), last.max(end)));
    }

    fn write_to(&self, object: &mut Value) {
        if let Some((first, last)) = self.0 {
            object["StartTime"] = json!(first);
            object["EndTime"] = json!(last);
        }
    }
}

#[derive(Debug, Default)]
struct Graph {
    nodes: BTreeMap<Key, Service>,
    edges: BTreeMap<(Key, Key), Edge>,
}

/// The services of these traces, in the shape of `GetServiceGraph`.
pub(crate) fn service_graph(traces: &[Trace]) -> Vec<Value> {
    let mut graph = Graph::default();
    for trace in traces {
        for root in &trace.roots {
            graph.visit(root, None);
        }
    }
    let ids: BTreeMap<&Key, usize> = graph.nodes.keys().enumerate().map(|(id, key)| (key, id)).collect();
    let mut services = Vec::new();
    for (key, service) in &graph.nodes {
        let mut edges = Vec::new();
        for ((_, to), edge) in graph.edges.iter().filter(|((from, _), _)| from == key) {
            let mut one = json!({"ReferenceId": ids.get(to), "SummaryStatistics": edge.counts.to_json(), "Aliases": []});
            edge.times.write_to(&mut one);
            edges.push(one);
        }
        let (name, kind) = key;
        let mut one = json!({
            "ReferenceId": ids.get(key), "Name": name, "Names": [name], "Root": service.root, "State": "active",
            "Edges": edges, "SummaryStatistics": service.counts.to_json(),
        });
        if !kind.is_empty() {
            one["Type"] = json!(kind);
        }
        service.times.write_to(&mut one);
        services.push(one);
    }
    services
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
            let service = self.nodes.entry(own.clone()).or_default();
            service.counts.add(node);
            service.times.add(node);
            service.root |= from.is_none();
            if let Some(from) = from.filter(|from| *from != own) {
                let edge = self.edges.entry((from.clone(), own.clone())).or_default();
                edge.counts.add(node);
                edge.times.add(node);
            }
        }
        let service = if node.is_segment { own.as_ref() } else { from };
        for child in &node.children {
            self.visit(child, service);
        }
    }
}
