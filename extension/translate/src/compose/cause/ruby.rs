//! `Exception#full_message` of Ruby and bare backtraces, with the quotes of every version (BET-20).

use super::Parsed;
use super::frames::{add, number, path_and_line};
use std::borrow::Cow;

/// Whether a text looks like a Ruby backtrace.
pub(super) fn recognises(text: &str) -> bool {
    text.lines().any(|line| frame(line.trim_start().trim_start_matches("from ")).is_some())
}

/// The exception, then its causes, as `full_message` orders them.
pub(super) fn parse(text: &str) -> Vec<Parsed> {
    let text = without_highlights(text);
    let mut chain = Vec::new();
    let mut current = Parsed::default();
    let mut message = String::new();
    let mut in_message = false;
    for line in text.lines() {
        let from = line.strip_prefix(['\t', ' ']).and_then(|line| line.trim_start().strip_prefix("from "));
        if let Some(from) = from {
            in_message = false;
            let (path, number, label, _) = frame(from).unwrap_or_else(|| {
                let (path, number) = path_and_line(from).unwrap_or((from, 0));
                (path, number, "", None)
            });
            current.push(path, number, label);
        } else if let Some((path, number, label, rest)) = frame(line) {
            if let Some(first) = rest {
                finish(&mut chain, &mut current, &mut message);
                message.push_str(first);
                in_message = true;
            }
            current.push(path, number, label);
        } else if let Some(levels) = levels(line) {
            current.skip(levels);
        } else if in_message {
            message.push('\n');
            message.push_str(line);
        }
    }
    finish(&mut chain, &mut current, &mut message);
    chain
}

/// The class stands behind the first line of the message.
fn finish(chain: &mut Vec<Parsed>, current: &mut Parsed, message: &mut String) {
    let (first, rest) = message.split_at(message.find('\n').unwrap_or(message.len()));
    let (text, class) = match first.strip_suffix(')').and_then(|first| first.rsplit_once(" (")) {
        Some((text, class)) if is_class(class) => (text, Some(class)),
        _ => (first, None),
    };
    let text = format!("{text}{}", rest.trim_end());
    current.kind = class.map(str::to_owned);
    current.message = (!text.is_empty()).then_some(text);
    add(chain, std::mem::take(current));
    message.clear();
}

fn is_class(text: &str) -> bool {
    text.starts_with(|c: char| c.is_uppercase() || c == '#')
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '#' | '<' | '>'))
}

/// `path:line:in 'label'`, and what follows it behind a colon: the message.
fn frame(line: &str) -> Option<(&str, usize, &str, Option<&str>)> {
    let at = line.find(":in `").or_else(|| line.find(":in '"))?;
    let (path, number) = path_and_line(&line[..at])?;
    let rest = &line[at + ":in `".len()..];
    match rest.split_once("': ") {
        Some((label, message)) => Some((path, number, label, Some(message))),
        None => Some((path, number, rest.strip_suffix('\'')?, None)),
    }
}

/// ` ... 10068 levels...`
fn levels(line: &str) -> Option<usize> {
    number(line.trim().strip_prefix("... ")?.strip_suffix(" levels...")?)
}

/// Without the escape sequences meant for a terminal.
fn without_highlights(text: &str) -> Cow<'_, str> {
    if !text.contains("\u{1b}[") {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(
            part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').trim_start_matches('m'),
        );
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{reads_a_megabyte, show, show_all};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bet_20_recorded_exceptions() {
        insta::assert_snapshot!(show_all(include_str!("recorded/ruby.txt"), recognises, parse));
    }

    #[test]
    fn bet_20_places_are_split_from_the_right() {
        for (line, expected) in [
            ("C:/app/a.rb:3:in `f'", "C:/app/a.rb:3 f"),
            ("(eval at a.rb:3):1:in 'f'", "(eval at a.rb:3):1 f"),
            ("a.rb:3", "a.rb:3 "),
            ("a.so", "a.so:0 "),
        ] {
            let text = show(&parse(&format!("x.rb:1:in `g': m (E)\n\tfrom {line}\n")));
            assert_eq!(text, format!("E | m\n  x.rb:1 g\n  {expected}\n"), "{line}");
        }
    }

    #[test]
    fn bet_20_prose_and_other_languages_are_not_recognised() {
        for text in
            ["", "from here", "look at a.rb:in 'f'", "    at f (/x.js:3:14)", "  File \"a.py\", line 1, in f"]
        {
            assert!(!recognises(text), "{text}");
        }
    }

    #[test]
    fn bet_21_a_megabyte_stays_bounded() {
        for line in ["\tfrom a.rb:1:in `f'\n", "a.rb:1:in `f': x (E)\n", "\u{1b}[1m", ":in `", "': ", "("] {
            reads_a_megabyte(parse, line);
        }
    }

    proptest! {
        #[test]
        fn bet_20_any_text_is_read_without_panic(text in "(?s).{0,200}") {
            let _ = (recognises(&text), parse(&text));
            let _ = parse(&format!("{text}:1:in `{text}': {text} ({text})\n{text}\n\tfrom {text}:2:in '{text}'\n\u{1b}[{text}"));
        }
    }
}
