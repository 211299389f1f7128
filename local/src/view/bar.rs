//! Durations, and where on the trace's time line a node lies.

use crate::xray::Node;

/// The time line of a trace.
pub(super) struct Scale {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) columns: usize,
}

impl Scale {
    /// The node's part of the time line. However short, it has one column.
    pub(super) fn bar(&self, node: &Node) -> String {
        let total = self.end - self.start;
        let column = |seconds: f64| {
            let share = if total > 0.0 { ((seconds - self.start) / total).clamp(0.0, 1.0) } else { 0.0 };
            // A share of a small number of columns.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and the columns"
            )]
            let column = (share * self.columns as f64).round() as usize;
            column
        };
        let from = column(node.start_seconds()).min(self.columns.saturating_sub(1));
        let (to, fill) = match node.end_seconds() {
            Some(end) => (column(end).max(from + 1), "█"),
            None => (self.columns, "▒"),
        };
        format!("{}{}{}", " ".repeat(from), fill.repeat(to - from), " ".repeat(self.columns - to))
    }
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
