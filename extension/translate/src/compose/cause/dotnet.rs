//! `Exception.ToString` of .NET, with inner exceptions (MAP-31, BET-20).

use super::Parsed;
use super::frames::{MAX_CHAIN, number};

const END_OF_INNER: &str = "--- End of inner exception stack trace ---";
const INNER: &str = " ---> ";
/// The members of an `AggregateException` follow its stack; the first of them is already told as the inner exception.
const MEMBER: &str = "---> (Inner Exception #";

/// Whether a text looks like a .NET stack: nothing else indents by three.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| {
        line.trim() == END_OF_INNER || (line.starts_with("   at ") && frame(line.trim()).is_some())
    })
}

/// The exception, then its inner exceptions. All heads come first, the stacks follow from the inside out.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let mut chain: Vec<Parsed> = Vec::new();
    let mut head = Some(String::new());
    let mut open = Vec::new();
    let mut members = 0_usize;
    for line in text.lines() {
        let trimmed = line.trim();
        members += usize::from(trimmed.starts_with(MEMBER));
        if members > 0 {
            members -= usize::from(trimmed.ends_with("<---"));
        } else if trimmed == END_OF_INNER {
            close(&mut head, &mut chain, &mut open);
            // The outermost stays open whatever the text says.
            if open.len() > 1 {
                open.pop();
            }
        } else if let Some((path, line, label)) = frame(trimmed) {
            close(&mut head, &mut chain, &mut open);
            if let Some(parsed) = open.last().and_then(|index| chain.get_mut(*index)) {
                parsed.push(path, line, label);
            }
        } else if let Some(inner) = line.strip_prefix(INNER) {
            close(&mut head, &mut chain, &mut open);
            head = Some(inner.to_owned());
        } else if let Some(head) = &mut head {
            if !head.is_empty() {
                head.push('\n');
            }
            head.push_str(line);
        }
    }
    close(&mut head, &mut chain, &mut open);
    chain.retain(|parsed| !parsed.is_empty());
    chain
}

/// Ends a head: the exception it describes is open until its stack has been read. Those beyond the limit are
/// opened as well, so that each stack goes to its own exception, and then not kept.
fn close(head: &mut Option<String>, chain: &mut Vec<Parsed>, open: &mut Vec<usize>) {
    let Some(head) = head.take() else { return };
    let mut parsed = Parsed::default();
    parsed.describe(head.strip_prefix("Unhandled exception. ").unwrap_or(&head), is_type);
    if chain.len() < MAX_CHAIN {
        open.push(chain.len());
        chain.push(parsed);
    } else {
        open.push(usize::MAX);
    }
}

/// `System.IO.IOException`, `Outer+Nested`, and those of the operating system: `System.IO.IOException (0x80070020)`.
fn is_type(text: &str) -> bool {
    let name = text.split_once(" (0x").map_or(text, |(name, _)| name);
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '`' | '[' | ']' | ',');
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(is_word)
}

/// `at Shop.App.Work(String id) in C:\src\App.cs:line 12`, or without a place.
fn frame(line: &str) -> Option<(&str, usize, &str)> {
    let rest = line.strip_prefix("at ")?;
    let (label, path, line) = match rest.rsplit_once(":line ") {
        Some((label_and_path, line)) => {
            let (label, path) = label_and_path.split_once(") in ")?;
            (&rest[..=label.len()], path, number(line)?)
        }
        None => (rest, "", 0),
    };
    (label.contains('(') && label.ends_with(')')).then_some((path, line, label))
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn map_31_bet_20_recorded_exceptions() {
        insta::assert_snapshot!(show_all(include_str!("recorded/dotnet.txt"), recognises, parse));
    }

    #[test]
    fn map_31_places() {
        for (line, expected) in [
            ("at A.B(String s) in /src/a b.cs:line 12", "/src/a b.cs:12 A.B(String s)"),
            (r"at A.B() in C:\src (x) in y\a.cs:line 12", r"C:\src (x) in y\a.cs:12 A.B()"),
            ("at A.<>c.<B>b__0_0(Int32 i)", ":0 A.<>c.<B>b__0_0(Int32 i)"),
            ("at A.B`1.C[T](T t) in /_/src/C.cs:line 3", "/_/src/C.cs:3 A.B`1.C[T](T t)"),
        ] {
            let text = show(&parse(&format!("System.Exception: x\n   {line}\n")));
            assert_eq!(text, format!("System.Exception | x\n  {expected}\n"), "{line}");
        }
    }

    #[test]
    fn bet_20_an_exception_thrown_again_keeps_its_frames() {
        let text = "X (0x80004005): m\n   at A.B()\n--- End of stack trace from previous location ---\n   at A.C()\n";
        assert_eq!(show(&parse(text)), "X (0x80004005) | m\n  :0 A.B()\n  :0 A.C()\n");
    }

    #[test]
    fn bet_20_stacks_beyond_the_limit_go_to_nobody_else() {
        let depth = MAX_CHAIN + 2;
        let join = |parts: Vec<String>| parts.concat();
        let heads = join((1..=depth).map(|index| format!(" ---> E{index}: m\n")).collect());
        let stack = |index: usize| format!("   at F{index}()\n   {END_OF_INNER}\n");
        let text = format!("E0: m\n{heads}{}", join((0..=depth).rev().map(stack).collect()));
        let read = join((0..MAX_CHAIN).map(|index| format!("E{index} | m\n  :0 F{index}()\n")).collect());
        assert_eq!(show(&parse(&text)), read);
    }

    #[test]
    fn bet_20_prose_and_other_languages_are_not_recognised() {
        for text in ["", "   at noon", "    at f (/x.js:3:14)", "\tat a.B.c(B.java:1)", "at A.B()"] {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in [
            "   at A.B() in a:line 1\n",
            " ---> x\n",
            "   --- End of inner exception stack trace ---\n",
            "---> (Inner Exception #1)\n",
            "x: ",
            "at ) in ",
        ] {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("{text}: {text}\n ---> {text}\n   at {text}() in {text}:line 3\n   {END_OF_INNER}\n   at {text}\n"));
        }
    }
}
