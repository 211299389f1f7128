//! Why a function did not start, in words that lead to the remedy.

use std::path::Path;

use crate::lambda::InitFailure;

/// Names what is wrong with the handler or the layer.
pub(super) fn of(failure: &InitFailure, handler: &str, function: &Path) -> String {
    let directory = function.display();
    let Some((module, name)) = handler.rsplit_once('.') else {
        return format!("handler {handler:?} names no function; write FILE.FUNCTION, such as app.handler");
    };
    let file = function.join(format!("{}.py", module.replace('.', "/")));
    match failure.error_type.as_str() {
        "Runtime.ImportModuleError" if !module_exists(&file) => format!(
            "handler {handler:?}: {} does not exist ({}); correct the handler or the function directory",
            file.display(),
            failure.message
        ),
        "Runtime.ImportModuleError" => format!(
            "handler {handler:?}: {} cannot be imported ({}); install what it needs into {directory}, \
             for example with: pip install --target {directory} PACKAGE",
            file.display(),
            failure.message
        ),
        "Runtime.HandlerNotFound" => format!(
            "handler {handler:?}: {} has no function {name:?} ({}); correct the handler, or define the function",
            file.display(),
            failure.message
        ),
        "Runtime.UserCodeSyntaxError" => {
            format!("handler {handler:?}: {}; correct {}", failure.message, file.display())
        }
        error_type if error_type.starts_with("Extension.") => {
            format!("the layer's extension failed: {error_type}: {}", failure.message)
        }
        error_type => format!("the function did not start: {error_type}: {}", failure.message),
    }
}

/// A module is a file, or a package of the same name.
fn module_exists(file: &Path) -> bool {
    file.is_file() || file.with_extension("").join("__init__.py").is_file()
}
