//! Which parser reads a stack: by the language the resource names, else by what the text looks like (BET-20).

use super::{Parsed, dotnet, go, java, node, php, python, ruby, rust};

struct Parser {
    /// Values of `telemetry.sdk.language`.
    languages: &'static [&'static str],
    recognises: fn(&str) -> bool,
    parse: fn(&str) -> Vec<Parsed>,
}

/// In the order of guessing: the surest marks first.
const PARSERS: [Parser; 8] = [
    Parser { languages: &["python"], recognises: python::recognises, parse: python::parse },
    Parser { languages: &["ruby"], recognises: ruby::recognises, parse: ruby::parse },
    Parser { languages: &["go"], recognises: go::recognises, parse: go::parse },
    Parser { languages: &["php"], recognises: php::recognises, parse: php::parse },
    Parser { languages: &["rust"], recognises: rust::recognises, parse: rust::parse },
    Parser { languages: &["java"], recognises: java::recognises, parse: java::parse },
    Parser { languages: NODE, recognises: node::recognises, parse: node::parse },
    Parser { languages: &["dotnet"], recognises: dotnet::recognises, parse: dotnet::parse },
];
const NODE: &[&str] = &["nodejs", "javascript", "webjs"];

/// The exception itself first, then its causes. Never empty.
pub(super) fn parse(text: &str, language: Option<&str>) -> Vec<Parsed> {
    let declared =
        PARSERS.iter().find(|parser| language.is_some_and(|name| parser.languages.contains(&name)));
    let guessed = PARSERS.iter().filter(|parser| (parser.recognises)(text));
    // A parser that finds neither a frame nor a cause was the wrong one, or there is none to be found.
    let is_read =
        |chain: &Vec<Parsed>| chain.len() > 1 || chain.iter().any(|parsed| !parsed.stack.is_empty());
    let found = declared.into_iter().chain(guessed).map(|parser| (parser.parse)(text)).find(is_read);
    found.unwrap_or_else(|| match declared.map(|parser| (parser.parse)(text)) {
        Some(chain) if text.trim().lines().count() == 1 && !chain.is_empty() => chain,
        _ => vec![unknown(text)],
    })
}

/// A format nobody here knows: a line a frame (BET-20).
fn unknown(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        parsed.push("", 0, line);
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::show;
    use super::*;

    const ERROR: &str = "Error: x\n    at f (/x.js:1:2)\n";

    #[test]
    fn bet_20_every_recorded_text_is_read_alike_declared_and_guessed() {
        let recorded = [
            ("nodejs", include_str!("recorded/node.txt")),
            ("java", include_str!("recorded/java.txt")),
            ("dotnet", include_str!("recorded/dotnet.txt")),
            ("ruby", include_str!("recorded/ruby.txt")),
            ("go", include_str!("recorded/go.txt")),
            ("php", include_str!("recorded/php.txt")),
            ("rust", include_str!("recorded/rust.txt")),
        ];
        let mut compared = 0;
        for (language, file) in recorded {
            for section in file.split("=== ").skip(1) {
                let (name, text) = section.split_once('\n').unwrap();
                let declared = parse(text, Some(language));
                if declared[0].stack.is_empty() && declared.len() == 1 {
                    continue;
                }
                compared += 1;
                assert_eq!(show(&parse(text, None)), show(&declared), "{language}: {name}");
                assert_eq!(show(&parse(text, Some("erlang"))), show(&declared), "{language}: {name}");
            }
        }
        assert_eq!(compared, 64);
    }

    #[test]
    fn bet_20_the_language_is_declared_or_guessed() {
        let read = "Error | x\n  /x.js:1 f\n";
        for language in
            [Some("nodejs"), Some("javascript"), Some("webjs"), Some("python"), Some("erlang"), None]
        {
            assert_eq!(show(&parse(ERROR, language)), read, "{language:?}");
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
