//! A trace as a tree with a time bar, for a terminal: a [`Trace`] comes in, text goes out. The command line prints it, and
//! a test that fails.

mod bar;
mod details;
mod paint;

use crate::xray::{Node, Trace};
use bar::Scale;
use paint::{Paint, width};

/// How a trace is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal. Below 60, lines are longer than the terminal is wide.
    pub width: usize,
    pub colour: bool,
    /// Show what only matters when the tracing itself is looked at: kinds, scopes, resources.
    pub verbose: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 110, colour: false, verbose: false }
    }
}

const DURATION_COLUMNS: usize = 10;
const STATUS_COLUMNS: usize = 16;
const MIN_BAR_COLUMNS: usize = 24;

/// One line of the tree before it is laid out.
struct Line<'a> {
    /// The branches in front of the name.
    branches: String,
    /// The branches in front of what stands below the name.
    below: String,
    node: &'a Node,
}

/// Draws the whole trace.
pub fn render_trace(trace: &Trace, style: &Style) -> String {
    let paint = Paint::new(style.colour);
    let mut lines = Vec::new();
    for root in &trace.roots {
        collect(root, "", "", &mut lines);
    }
    let first_orphan = lines.len();
    for orphan in &trace.orphans {
        collect(orphan, "", "", &mut lines);
    }

    let label = |line: &Line<'_>| width(&line.branches) + width(&details::label(line.node));
    let widest = lines.iter().map(label).max().unwrap_or(0);
    let labels =
        widest.min(style.width.saturating_sub(DURATION_COLUMNS + MIN_BAR_COLUMNS + STATUS_COLUMNS + 4));
    let bar =
        style.width.saturating_sub(labels + DURATION_COLUMNS + STATUS_COLUMNS + 4).clamp(MIN_BAR_COLUMNS, 40);
    let (start, end) = trace.start_and_end_seconds();
    let scale = Scale::new(trace, bar);

    let mut out = format!("Trace {}  {}\n", paint.bold(&trace.id), bar::duration(end - start));
    for (index, line) in lines.iter().enumerate() {
        if index == first_orphan {
            out.push_str(&paint.red("\nnot shown by X-Ray, their parents never came:\n"));
        }
        draw(line, labels, &scale, style, &paint, &mut out);
    }
    if !trace.repeated.is_empty() {
        let repeated = format!("\nids that came more than once: {}\n", trace.repeated.join(" "));
        out.push_str(&paint.red(&repeated));
    }
    out
}

fn collect<'a>(node: &'a Node, branches: &str, below: &str, lines: &mut Vec<Line<'a>>) {
    let continued = if node.children.is_empty() { "   " } else { "│  " };
    lines.push(Line { branches: branches.to_owned(), below: format!("{below}{continued}"), node });
    for (index, child) in node.children.iter().enumerate() {
        let (branch, under) =
            if index + 1 == node.children.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        collect(child, &format!("{below}{branch}"), &format!("{below}{under}"), lines);
    }
}

fn draw(line: &Line<'_>, labels: usize, scale: &Scale, style: &Style, paint: &Paint, out: &mut String) {
    let node = line.node;
    let branches = paint::cut_front(&line.branches, labels * 2 / 3);
    let room = labels.saturating_sub(width(&branches));
    let label = details::label(node);
    let shown = paint::cut(&label, room);
    let padding = " ".repeat(room - width(&shown).min(room));
    let painted = match shown.strip_prefix(&paint::clean(node.name())) {
        Some(about) => {
            format!("{}{}", paint.name(node, &shown[..shown.len() - about.len()]), paint.dim(about))
        }
        None => paint.name(node, &shown),
    };
    let duration = match node.end_seconds() {
        Some(end) => bar::duration(end - node.start_seconds()),
        None => "running".to_owned(),
    };
    let time = scale.bar(node);
    let row = format!(
        "{}{painted}{padding} {duration:>DURATION_COLUMNS$}  {}  {}",
        paint.dim(&branches),
        paint.bar(node, &time),
        details::status(node, paint)
    );
    out.push_str(row.trim_end());
    out.push('\n');
    for detail in details::below(node, style.verbose, paint) {
        let margin = paint::cut_front(&line.below, labels * 2 / 3);
        let text = paint::cut(&detail, style.width.saturating_sub(width(&margin)));
        out.push_str(&paint.dim(&margin));
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests;
