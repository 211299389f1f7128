//! The README's settings table is the one the code declares.

use otel_xray::settings::markdown_table;
use std::path::Path;

const BEGIN: &str = "<!-- settings: generated from extension/src/settings/table.rs -->\n";
const END: &str = "<!-- /settings -->";

#[test]
fn settings_table_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let begin = readme.find(BEGIN).expect("the README has the mark where the settings begin") + BEGIN.len();
    let end = readme.find(END).expect("the README has the mark where the settings end");
    let table = markdown_table();
    if std::env::var_os("OTEL_XRAY_WRITE_README").is_some() {
        let current = format!("{}{table}{}", &readme[..begin], &readme[end..]);
        std::fs::write(&path, current).unwrap();
    } else {
        assert_eq!(
            &readme[begin..end],
            table,
            "run OTEL_XRAY_WRITE_README=1 cargo test -p otel-xray --test readme"
        );
    }
}
