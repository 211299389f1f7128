//! `AWS_LAMBDA_EXEC_WRAPPER`: Lambda runs this with the runtime's command line. It points the runtime at the agent where there is
//! one for it, and becomes the runtime. Whatever is missing, the function starts as it would without the layer (L-11.4).
//!
//! Every cold start waits for it, where a shell would take many times as long. The profile `launcher` makes a static file of
//! it, without the standard library; other profiles are for tests and tools.
#![no_main]
#![cfg_attr(panic = "abort", no_std)]

mod daemon;
mod os;
mod settings;
mod socket;
mod text;

use core::ffi::{CStr, c_char, c_int};
use os::{Arguments, Command};
use text::Text;

/// Takes the place of the user's handler, and loads it.
const PYTHON_HANDLER: &CStr = c"_otel_xray_agent.bootstrap.handler";
/// Tells the agent what `PYTHONPATH` was.
const PYTHON_PATH: &CStr = c"OTEL_XRAY_PYTHONPATH";

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "C's entry point")]
extern "C" fn main(count: c_int, first: *const *const c_char) -> c_int {
    // SAFETY: these are what the C library was given.
    let arguments = unsafe { Arguments::new(count, first) };
    if !settings::is_disabled() {
        let _ = launch(&arguments);
    }
    arguments.become_unchanged(1)
}

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    os::fail(
        c"otel-instrument",
        c": has a defect and cannot start the runtime; remove AWS_LAMBDA_EXEC_WRAPPER\n",
        126,
    )
}

/// The compiler's own library names it, and nothing that is left of that library calls it.
#[cfg(panic = "abort")]
#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the linker looks for this name")]
extern "C" fn rust_eh_personality() {}

/// Comes back where the command line is to stay as it is.
fn launch(arguments: &Arguments) -> Option<()> {
    let root = directory(arguments.get(0)?.to_bytes());
    let runtime = arguments.get(1)?.to_bytes();
    let runtime = runtime.rsplit(|byte| *byte == b'/').next()?;
    if runtime == b"node" {
        node(arguments, root)
    } else if runtime == b"python" || runtime == b"python3" || runtime.starts_with(b"python3.") {
        python(arguments, root)
    } else {
        // No agent, but perhaps an X-Ray SDK.
        os::set_variable(c"AWS_XRAY_DAEMON_ADDRESS", daemon::address()?.as_c_str()?)
    }
}

/// In the arguments rather than in `NODE_OPTIONS`: processes that the function starts do not inherit it.
fn node(arguments: &Arguments, root: &[u8]) -> Option<()> {
    let agent = Text::of(&[root, b"/otel-xray/nodejs/main.js"])?;
    let agent = agent.as_c_str().filter(|path| os::is_readable(path))?;
    let mut command = Command::new();
    command.push(arguments.get(1)?)?;
    command.push(c"--require")?;
    command.push(agent)?;
    for index in 2..arguments.count() {
        command.push(arguments.get(index)?)?;
    }
    let _ = socket::leave_to_node();
    command.become_it()
}

fn python(arguments: &Arguments, root: &[u8]) -> Option<()> {
    let handler = os::variable(c"_HANDLER")?;
    let agent = Text::of(&[root, b"/python/_otel_xray_agent/bootstrap.py"])?;
    agent.as_c_str().filter(|path| os::is_readable(path))?;
    let own = Text::of(&[root, b"/python"])?;
    let own = own.as_c_str()?;
    // Set to nothing, it is set all the same: the managed runtime then adds no folder of its own.
    let path = os::held(c"PYTHONPATH");
    // A runtime client started by hand (python -m awslambdaric app.handler) is told the handler in its last argument.
    let last = arguments.count().checked_sub(1)?;
    let by_hand = last > 2
        && arguments.get(last)? == handler
        && arguments.get(last.checked_sub(1)?)? == c"awslambdaric";
    let names_own =
        |path: &CStr| path.to_bytes().split(|byte| *byte == b':').any(|one| one == own.to_bytes());
    let new_path = match path {
        Some(path) if names_own(path) => None,
        // An empty part of it would be the current folder.
        Some(path) if !path.is_empty() => Some(Text::of(&[path.to_bytes(), b":", own.to_bytes()])?),
        Some(_) => Some(Text::of(&[own.to_bytes()])?),
        None if by_hand => Some(Text::of(&[own.to_bytes()])?),
        // Unset, it must stay unset: the managed runtime then finds /opt/python itself, and the user's other layers.
        None => None,
    };
    let mut command = Command::new();
    for index in 1..arguments.count() {
        command.push(if by_hand && index == last { PYTHON_HANDLER } else { arguments.get(index)? })?;
    }
    os::set_variable(c"OTEL_XRAY_HANDLER", handler)?;
    os::set_variable(c"_HANDLER", PYTHON_HANDLER)?;
    os::remove_variable(PYTHON_PATH);
    if let Some(new_path) = new_path {
        // For the agent, which puts it back: a sign that it was set, and what it was.
        let was = match path {
            Some(path) => Text::of(&[b"=", path.to_bytes()])?,
            None => Text::of(&[])?,
        };
        os::set_variable(PYTHON_PATH, was.as_c_str()?)?;
        os::set_variable(c"PYTHONPATH", new_path.as_c_str()?)?;
    }
    command.become_it()
}

/// The folder of a file, which is /opt on Lambda.
fn directory(file: &[u8]) -> &[u8] {
    let name = file.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    file.strip_suffix(name).and_then(|folder| folder.strip_suffix(b"/")).unwrap_or(file)
}
