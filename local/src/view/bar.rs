//! Durations, and where on the trace's time line a node lies.

use crate::xray::{Node, Trace};

/// Columns of what came before the first segment, where that is long.
const HEAD_COLUMNS: usize = 6;

/// The time line of a trace.
pub(super) struct Scale {
    begin: f64,
    /// Where the true scale starts: the beginning of the first segment. What comes before it is drawn shortened, or a
    /// cold start would leave a few columns for everything the function did.
    start: f64,
    end: f64,
    head_columns: usize,
    columns: usize,
}

impl Scale {
    pub(super) fn new(trace: &Trace, columns: usize) -> Self {
        let (begin, end) = trace.start_and_end_seconds();
        let first = trace.roots.iter().map(Node::start_seconds).fold(f64::INFINITY, f64::min);
        if first.is_finite() && first - begin > end - first {
            let head_columns = HEAD_COLUMNS.min(columns / 4);
            return Self { begin, start: first, end, head_columns, columns };
        }
        Self { begin, start: begin, end, head_columns: 0, columns }
    }

    /// The node's part of the time line. However short, it has one column.
    pub(super) fn bar(&self, node: &Node) -> String {
        let from = self.column(node.start_seconds()).min(self.columns.saturating_sub(1));
        let (to, fill) = match node.end_seconds() {
            Some(end) => (self.column(end).max(from + 1), "█"),
            None => (self.columns, "▒"),
        };
        let mut bar: Vec<&str> =
            (0..self.columns).map(|column| if (from..to).contains(&column) { fill } else { " " }).collect();
        // The sign of a broken axis.
        if from < 2 && to > 4 && self.head_columns > 4 {
            bar[2] = "╱";
            bar[3] = "╱";
        }
        bar.concat()
    }

    fn column(&self, seconds: f64) -> usize {
        let tail_columns = self.columns - self.head_columns;
        if seconds < self.start {
            place(seconds - self.begin, self.start - self.begin, self.head_columns)
        } else {
            self.head_columns + place(seconds - self.start, self.end - self.start, tail_columns)
        }
    }
}

fn place(part: f64, whole: f64, columns: usize) -> usize {
    let share = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the columns")]
    let column = (share * columns as f64).round() as usize;
    column
}

/// A duration with three digits that matter.
pub(super) fn duration(seconds: f64) -> String {
    let milliseconds = seconds * 1000.0;
    if milliseconds >= 9_999.5 {
        format!("{seconds:.1} s")
    } else if milliseconds >= 999.5 {
        format!("{seconds:.2} s")
    } else if milliseconds >= 99.95 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds >= 9.995 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.2} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations() {
        for (seconds, text) in [
            (0.000_012, "0.01 ms"),
            (0.001_5, "1.50 ms"),
            (0.012_34, "12.3 ms"),
            (0.150, "150 ms"),
            (0.999_9, "1.00 s"),
            (3.0, "3.00 s"),
            (61.234, "61.2 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
