//! Why a function did not start, in words that lead to the remedy.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arguments::{Invoke, Runtime};
use crate::lambda::InitFailure;

/// What a language's files are called, and how it gets packages.
struct Language {
    example: &'static str,
    /// Of a module's file, in the order in which they are looked for.
    endings: &'static [&'static str],
    defines: &'static str,
    install: &'static str,
}

const PYTHON: Language = Language {
    example: "app.handler",
    endings: &[".py", "/__init__.py"],
    defines: "define the function",
    install: "pip install --target",
};
const NODEJS: Language = Language {
    example: "index.handler",
    endings: &[".js", ".mjs", ".cjs"],
    defines: "export the function",
    install: "npm install --prefix",
};

/// Names what is wrong with the handler or the layer.
pub(super) fn of(failure: &InitFailure, arguments: &Invoke) -> String {
    let (handler, directory) = (&arguments.handler, arguments.function.display());
    let language = match arguments.runtime {
        Runtime::Python => PYTHON,
        Runtime::Nodejs => NODEJS,
    };
    let error_type = failure.error_type.as_str();
    if error_type.starts_with("Extension.") {
        return format!("the layer's extension failed: {error_type}: {}", failure.message);
    }
    let Some((module, name)) = module_and_name(handler, arguments.runtime) else {
        return format!(
            "handler {handler:?} names no function; write FILE.FUNCTION, such as {}",
            language.example
        );
    };
    let candidates: Vec<PathBuf> =
        language.endings.iter().map(|ending| arguments.function.join(format!("{module}{ending}"))).collect();
    let file = candidates.iter().find(|file| file.is_file());
    // Node.js tells on further lines who has asked for a module.
    let message = failure.message.lines().next().unwrap_or_default();
    match (error_type, file) {
        ("Runtime.ImportModuleError", None) => format!(
            "handler {handler:?}: {} does not exist ({message}); correct the handler or the function directory",
            listed(&candidates)
        ),
        (_, Some(file)) if lacks_module(failure) => format!(
            "handler {handler:?}: {} cannot be imported ({message}); {}",
            file.display(),
            if lacks_file(message) {
                "correct what it imports".to_owned()
            } else {
                let install = language.install;
                format!(
                    "install what it needs into {directory}, for example with: {install} {directory} PACKAGE"
                )
            }
        ),
        ("Runtime.HandlerNotFound", Some(file)) => format!(
            "handler {handler:?}: {} has no function {name:?} ({message}); correct the handler, or {}",
            file.display(),
            language.defines
        ),
        ("Runtime.UserCodeSyntaxError", Some(file)) => {
            let remedy = if message.contains("import statement outside a module") {
                format!("rename it to {module}.mjs, or say \"type\": \"module\" in its package.json")
            } else {
                format!("correct {}", file.display())
            };
            format!("handler {handler:?}: {message}{}; {remedy}", place(failure, &arguments.function))
        }
        (_, Some(file)) if failure.payload.is_some() => format!(
            "handler {handler:?}: {} failed while it was loaded: {error_type}: {message}{}; correct it, or set what it needs with --env",
            file.display(),
            place(failure, &arguments.function)
        ),
        _ => format!("the function did not start: {error_type}: {message}"),
    }
}

/// The module's path without its ending, and the function's name.
fn module_and_name(handler: &str, runtime: Runtime) -> Option<(String, &str)> {
    match runtime {
        Runtime::Python => {
            let (module, name) = handler.rsplit_once('.')?;
            Some((module.replace('.', "/"), name))
        }
        // The file ends at the first dot of the last part: further ones lead into what it exports.
        Runtime::Nodejs => {
            let last = handler.rfind('/').map_or(0, |slash| slash + 1);
            let dot = last + handler[last..].find('.')?;
            Some((handler[..dot].to_owned(), &handler[dot + 1..]))
        }
    }
}

/// Node.js has no type of error for an ES module that imports what is not there.
fn lacks_module(failure: &InitFailure) -> bool {
    let message = &failure.message;
    failure.error_type == "Runtime.ImportModuleError"
        || message.starts_with("Cannot find package '")
        || message.starts_with("Cannot find module '")
}

/// Whether what is missing is a file of the function's own.
fn lacks_file(message: &str) -> bool {
    message.split_once("Cannot find module '").is_some_and(|(_, module)| module.starts_with(['.', '/']))
}

/// "a.js or b.js", as the subject of "does not exist".
fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<String> = files
        .iter()
        // A package is as good as a file, and not what is usually meant.
        .filter(|file| !file.ends_with("__init__.py"))
        .map(|file| file.display().to_string())
        .collect();
    shown.join(" or ")
}

/// Where in the function's own files it happened, as far as the report tells.
fn place(failure: &InitFailure, function: &Path) -> String {
    let report: Value =
        failure.payload.as_ref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
    let trace = report.get("trace").or_else(|| report.get("stackTrace"));
    let lines = trace.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // Python tells of the innermost frame last, Node.js first; a syntax error's place is the only one.
    let root = std::fs::canonicalize(function).unwrap_or_else(|_| function.to_owned());
    let root = format!("{}/", root.display());
    let mut places = lines.filter_map(|line| {
        let (_, rest) = line.split_once(&root)?;
        let (file, rest) = rest.split_once([':', '"'])?;
        let number: String =
            rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let is_dependency = file.contains("node_modules/") || file.contains("site-packages/");
        (!number.is_empty() && !is_dependency).then(|| format!("{file}, line {number}"))
    });
    let found = if report.get("trace").is_some() { places.next() } else { places.next_back() };
    found.map(|place| format!(" ({place})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::super::arguments::{Arguments, Command};
    use super::*;

    fn explained(runtime: &str, handler: &str, function: &Path, failure: &InitFailure) -> String {
        let function = function.display().to_string();
        let words = ["local", "invoke", "--layer", "l", "--function", &function, "--handler", handler];
        let parsed = Arguments::parse_from(words.iter().chain(&["--runtime", runtime]));
        let Command::Invoke(arguments) = parsed.command else { unreachable!("it is said above") };
        of(failure, &arguments)
    }

    fn failure(error_type: &str, message: &str, report: &Value) -> InitFailure {
        InitFailure {
            error_type: error_type.to_owned(),
            message: message.to_owned(),
            payload: Some(report.to_string().into()),
            timed_out: false,
        }
    }

    #[test]
    fn the_place_is_the_innermost_of_the_functions_own_files() {
        let directory = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(directory.path()).unwrap();
        let at = |file: &str| root.join(file).display().to_string();
        for file in ["app.py", "index.js"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let python = json!({"stackTrace": [
            format!("  File \"{}\", line 3, in <module>\n    load()\n", at("app.py")),
            format!("  File \"{}\", line 7, in load\n    1 / 0\n", at("settings.py")),
            format!("  File \"{}\", line 9, in parse\n", at("site-packages/toml.py")),
            "  File \"/usr/lib/python3.13/json.py\", line 1, in loads\n",
        ]});
        let said =
            explained("python", "app.handler", &root, &failure("ZeroDivisionError", "by zero", &python));
        assert!(
            said.contains(
                "app.py failed while it was loaded: ZeroDivisionError: by zero (settings.py, line 7)"
            ),
            "{said}"
        );
        let node = json!({"trace": [
            "TypeError: no settings",
            "    at parse (node:internal/json:1:1)",
            format!("    at parse ({}:9:3)", at("node_modules/toml/index.js")),
            format!("    at load (file://{}:7:3)", at("settings.mjs")),
            format!("    at Object.<anonymous> ({}:3:1)", at("index.js")),
        ]});
        let said = explained("nodejs", "index.handler", &root, &failure("TypeError", "no settings", &node));
        assert!(
            said.contains(
                "index.js failed while it was loaded: TypeError: no settings (settings.mjs, line 7)"
            ),
            "{said}"
        );
    }

    #[test]
    fn an_es_module_by_another_name_is_told_how_to_be_one() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("index.js"), "").unwrap();
        let message = "SyntaxError: Cannot use import statement outside a module";
        let error = failure("Runtime.UserCodeSyntaxError", message, &json!({}));
        let said = explained("nodejs", "index.handler", directory.path(), &error);
        assert!(said.contains("rename it to index.mjs, or say \"type\": \"module\""), "{said}");
    }

    #[test]
    fn a_handler_below_a_folder_and_inside_of_an_object_is_taken_apart_as_its_runtime_does() {
        let cases = [
            (Runtime::Python, "a/b.c.d", Some(("a/b/c", "d"))),
            (Runtime::Nodejs, "a.b/c.d.e", Some(("a.b/c", "d.e"))),
            (Runtime::Nodejs, "a.b/c", None),
            (Runtime::Python, "app", None),
        ];
        for (runtime, handler, expected) in cases {
            let expected = expected.map(|(module, name)| (module.to_owned(), name));
            assert_eq!(module_and_name(handler, runtime), expected, "{handler}");
        }
    }
}
