//! Which parser reads a stack: by the language the resource names, else by what the text looks like (BET-20).

use super::{Parsed, node, python, unknown};

struct Parser {
    /// Values of `telemetry.sdk.language`.
    languages: &'static [&'static str],
    recognises: fn(&str) -> bool,
    parse: fn(&str) -> Vec<Parsed>,
}

/// In the order of guessing: the surest marks first.
const PARSERS: [Parser; 2] = [
    Parser { languages: &["python"], recognises: python::recognises, parse: python::parse },
    Parser {
        languages: &["nodejs", "javascript", "webjs"],
        recognises: node::recognises,
        parse: node::parse,
    },
];

/// The exception itself first, then its causes. Never empty.
pub(super) fn parse(text: &str, language: Option<&str>) -> Vec<Parsed> {
    let declared =
        PARSERS.iter().find(|parser| language.is_some_and(|name| parser.languages.contains(&name)));
    let guessed = PARSERS.iter().filter(|parser| (parser.recognises)(text));
    let has_frames = |chain: &Vec<Parsed>| chain.iter().any(|parsed| !parsed.stack.is_empty());
    // A parser that finds no frame was the wrong one, or there is none to be found.
    let found = declared.into_iter().chain(guessed).map(|parser| (parser.parse)(text)).find(has_frames);
    found.unwrap_or_else(|| match declared.map(|parser| (parser.parse)(text)) {
        Some(chain) if text.trim().lines().count() == 1 && !chain.is_empty() => chain,
        _ => vec![unknown(text)],
    })
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::show;
    use super::*;

    const NODE: &str = "Error: x\n    at f (/x.js:1:2)\n";

    #[test]
    fn bet_20_the_language_is_declared_or_guessed() {
        let read = "Error | x\n  /x.js:1 f\n";
        for language in
            [Some("nodejs"), Some("javascript"), Some("webjs"), Some("python"), Some("erlang"), None]
        {
            assert_eq!(show(&parse(NODE, language)), read, "{language:?}");
        }
    }

    #[test]
    fn bet_20_an_unknown_format_is_a_line_a_frame() {
        let text = "** (RuntimeError) oops\n    app.ex:3: App.run/1\n";
        for language in [Some("erlang"), Some("cpp"), Some("swift"), Some("nodejs"), None] {
            let read = "- | -\n  :0 ** (RuntimeError) oops\n  :0 app.ex:3: App.run/1\n";
            assert_eq!(show(&parse(text, language)), read, "{language:?}");
        }
    }

    #[test]
    fn bet_20_a_head_alone_is_an_exception_without_frames() {
        assert_eq!(show(&parse("ValueError: x\n", Some("python"))), "ValueError | x\n");
        assert_eq!(show(&parse("ValueError: x\n", Some("nodejs"))), "ValueError | x\n");
    }
}
