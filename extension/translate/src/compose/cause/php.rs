//! PHP's own `Throwable::__toString` and `getTraceAsString` (MAP-28, BET-20).

use super::frames::{MAX_CHAIN, add, number, path_and_line};
use super::{Parsed, java};

/// Whether a text looks like PHP's own stack.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| call(line).is_some())
}

/// The exception, then those before it, which PHP prints first. The OpenTelemetry SDK for PHP writes what Java does.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    if !recognises(text) {
        return java::parse(text);
    }
    let mut chain = Vec::new();
    let mut section = Section::default();
    for line in text.lines() {
        match line.strip_prefix("Next ") {
            Some(head) if section.calls > 0 => {
                section.finish(&mut chain);
                section.head.push_str(head);
            }
            _ => section.line(line),
        }
    }
    section.finish(&mut chain);
    chain.reverse();
    chain
}

/// One exception while its lines are read.
#[derive(Debug, Default)]
struct Section {
    head: String,
    parsed: Parsed,
    in_stack: bool,
    calls: usize,
    /// Where the function of the next line was when it was left: a line of PHP's names the place of a call and
    /// whom it called, a frame is a function and the place in it.
    place: (String, usize),
}

impl Section {
    fn line(&mut self, line: &str) {
        // A message may quote a stack; the one of the exception has its own headline, or nothing before it.
        let call = if self.in_stack || self.head.is_empty() { call(line) } else { None };
        if let Some((path, number, called)) = call {
            self.in_stack = true;
            if self.calls == 0 {
                self.describe();
            }
            self.calls += 1;
            self.parsed.push(&self.place.0, self.place.1, called);
            self.place = (path.to_owned(), number);
        } else if line == "Stack trace:" {
            self.in_stack = true;
        } else if !self.in_stack {
            if !self.head.is_empty() {
                self.head.push('\n');
            }
            self.head.push_str(line);
        }
    }

    /// `Uncaught App\Failed: message in /var/task/app.php:12`
    fn describe(&mut self) {
        let head = self.head.split_once("Uncaught ").filter(|(before, _)| before.ends_with("rror: "));
        let head = head.map_or(self.head.as_str(), |(_, head)| head).trim_end();
        let (described, place) = match head.rsplit_once(" in ") {
            Some((described, place)) => (described, path_and_line(place)),
            None => (head, None),
        };
        self.parsed.describe(if place.is_some() { described } else { head }, is_type);
        let (path, number) = place.unwrap_or_default();
        self.place = (path.to_owned(), number);
    }

    /// Ends the exception and begins the next. The last ones printed are the ones to keep.
    fn finish(&mut self, chain: &mut Vec<Parsed>) {
        if self.calls == 0 {
            self.describe();
        }
        if !self.place.0.is_empty() {
            self.parsed.push(&self.place.0, self.place.1, "");
        }
        if chain.len() == MAX_CHAIN {
            chain.remove(0);
        }
        add(chain, std::mem::take(self).parsed);
    }
}

fn is_type(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\\');
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(is_word)
}

/// `#0 /var/task/app.php(12): App\Repo->load('x')`, `#1 [internal function]: f()` or `#2 {main}`. Arguments are left
/// out: they are values, and may be secret.
fn call(line: &str) -> Option<(&str, usize, &str)> {
    let (index, rest) = line.strip_prefix('#')?.split_once(' ')?;
    number(index)?;
    if rest == "{main}" {
        return Some(("", 0, rest));
    }
    if let Some(called) = rest.strip_prefix("[internal function]: ") {
        return Some(("", 0, without_arguments(called)));
    }
    let (place, called) = rest.split_once("): ")?;
    let (path, line) = place.rsplit_once('(')?;
    Some((path, number(line)?, without_arguments(called)))
}

/// Up to the first bracket that is not within `{closure:App\f():12}`.
fn without_arguments(called: &str) -> &str {
    let mut depth = 0_usize;
    let end = called.find(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == '(' && depth == 0
    });
    end.map_or(called, |end| &called[..end])
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn map_28_bet_20_recorded_exceptions() {
        insta::assert_snapshot!(show_all(include_str!("recorded/php.txt"), recognises, parse));
    }

    #[test]
    fn map_28_the_opentelemetry_sdk_writes_as_java_does() {
        let text = "App.OrderException: order failed\n\tat App.work(a.php:6)\n\tat {main}(a.php:7)\nCaused by: RuntimeException: no row\n\tat App.Repo.load(a.php:3)\n\t... 2 more\n";
        let read = "App.OrderException | order failed\n  a.php:6 App.work\n  a.php:7 {main}\nRuntimeException | no row | +2\n  a.php:3 App.Repo.load\n";
        assert_eq!(show(&parse(text)), read);
    }

    #[test]
    fn bet_20_calls_without_their_arguments() {
        for (line, expected) in [
            ("#0 /a (x)/b.php(3): f('): g(', 1)", ("/a (x)/b.php", 3, "f")),
            ("#0 C:\\app\\b.php(3): A\\B->c()", ("C:\\app\\b.php", 3, "A\\B->c")),
            ("#1 /b.php(3): {closure:A\\f():12}(1)", ("/b.php", 3, "{closure:A\\f():12}")),
            ("#1 /b.php(3) : eval()'d code(1): f()", ("/b.php(3) : eval()'d code", 1, "f")),
            ("#12 [internal function]: A\\{closure}(1)", ("", 0, "A\\{closure}")),
        ] {
            assert_eq!(call(line), Some(expected), "{line}");
        }
        for line in ["#0", "#x /b.php(3): f()", "#0 /b.php(x): f()", "#0 /b.php: f()", " #0 {main}"] {
            assert_eq!(call(line), None, "{line}");
        }
    }

    #[test]
    fn bet_21_of_a_long_chain_the_last_are_kept() {
        let text: Vec<_> = (0..MAX_CHAIN + 3)
            .map(|i| format!("E{i}: m in /a.php:{i}\nStack trace:\n#0 {{main}}\n"))
            .collect();
        let chain = parse(&text.join("\nNext "));
        assert_eq!(chain.len(), MAX_CHAIN);
        assert_eq!(show(&chain[..1]), "E102 | m\n  /a.php:102 {main}\n");
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in [
            "#0 /a.php(1): f()\n",
            "#0 {main}\nNext x\n",
            "Next ",
            " in ",
            "#0 [internal function]: {",
            "x\n",
        ] {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("{text}: {text} in {text}:3\nStack trace:\n#0 {text}(1): {text}()\n#1 {{main}}\n\nNext {text}\n#0 {text}"));
        }
    }
}
