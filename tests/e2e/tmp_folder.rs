//! A function that goes through `/tmp` finds nothing there that it could hang on.

use anyhow::Result;
use otel_xray_tests::Stage;
use serde_json::{Value, json};

/// Reads every file of its `/tmp`, as `shutil.copytree`, `zip` and `md5sum` do, and looks at what it could open of the extension.
/// Environments of one machine share the real `/tmp`: there the name of the socket tells what is theirs.
const FUNCTION: &str = r#"
import glob, os, shutil, stat, tempfile

NAME = os.environ["OTEL_XRAY_AGENT_SOCKET"]

def entries():
    shared = glob.glob(f"/tmp/*{NAME}*") + glob.glob(f"/tmp/.*{NAME}*")
    own = os.environ["TMPDIR"]
    return shared + [os.path.join(at, name) for at, folders, files in os.walk(own) for name in folders + files]

def kind(path):
    mode = os.lstat(path).st_mode
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else oct(mode)

def look():
    found = sorted((os.path.basename(path), kind(path)) for path in entries())
    for path in entries():
        if not os.path.isdir(path):
            open(path, "rb").read()
    return found

def extension():
    for process in glob.glob("/proc/[0-9]*"):
        try:
            if os.readlink(process + "/exe").endswith("/extensions/otel-xray"):
                if f"OTEL_XRAY_AGENT_SOCKET={NAME}".encode() in open(process + "/environ", "rb").read().split(b"\0"):
                    return process
        except OSError:
            pass

def laid_pipes():
    pipes = []
    files = glob.glob(extension() + "/fd/*")
    for file in files:
        try:
            target, mode = os.readlink(file), os.stat(file).st_mode
        except OSError:
            continue
        if stat.S_ISFIFO(mode) and not target.startswith("pipe:"):
            pipes.append(target)
    return len(files) > 5, pipes

at_start = look()

def handler(event, context):
    with open(os.path.join(os.environ["TMPDIR"], "own"), "w") as file:
        file.write("the function's")
    copy = shutil.copytree(os.environ["TMPDIR"], tempfile.mkdtemp(dir="/var/tmp") + "/copy")
    copied = os.listdir(copy)
    shutil.rmtree(os.path.dirname(copy))
    return {"name": NAME, "at_start": at_start, "now": look(), "copied": copied, "pipes": laid_pipes()}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_function_that_reads_all_of_tmp_finds_its_own_files_and_nothing_else() -> Result<()> {
    let stage = Stage::python(FUNCTION).await?;
    let run = stage.run(&[json!({}), json!({})]).await?;
    assert_eq!(run.answers.len(), 2);
    for answer in &run.answers {
        assert!(answer.is_success(), "{answer:?}");
        let mut seen: Value = serde_json::from_slice(&answer.payload)?;
        let name = seen["name"].take();
        assert_eq!(
            seen,
            json!({
                "name": null, "at_start": [], "now": [["own", "file"]], "copied": ["own"], "pipes": [true, []],
            })
        );
        for entry in std::fs::read_dir("/tmp")? {
            let left = entry?.file_name();
            assert!(!left.to_string_lossy().contains(name.as_str().expect("a name")), "{left:?}");
        }
    }
    assert_eq!(run.accounts()["sent"], json!(2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_what_waits_for_the_next_extension_is_a_file_in_a_folder_of_its_own() -> Result<()> {
    let mut stage = Stage::python(FUNCTION).await?;
    stage.set("AWS_ENDPOINT_URL_XRAY", &format!("http://{}", otel_xray_tests::free_address()?));
    let spool = tempfile::TempDir::new()?;
    stage.set("OTEL_XRAY_SPOOL", &spool.path().join("spool").display().to_string());
    let run = stage.run(&[json!({})]).await?;
    assert_eq!(run.accounts()["carried"], json!(1));
    let left: Vec<_> = std::fs::read_dir(spool.path().join("spool"))?.collect::<Result<_, _>>()?;
    assert_eq!(left.len(), 1);
    assert!(left[0].file_type()?.is_file());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn blanks_around_the_name_of_the_socket_are_not_its_own() -> Result<()> {
    let mut stage = Stage::python("def handler(event, context):\n    return event\n").await?;
    let name = format!("otel-xray-e2e-{}", std::process::id());
    stage.set("OTEL_XRAY_AGENT_SOCKET", &format!(" {name}\n"));
    let run = stage.run(&[json!({})]).await?;
    assert_eq!(run.complaints(), Vec::<&String>::new());
    assert_eq!(run.accounts()["sent"], json!(1), "the agent and the extension have met");
    Ok(())
}
