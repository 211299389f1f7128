//! The Node.js agent's connection to the extension, opened here: Node.js writes a socket of its own only when the function lets it.

use crate::os;
use crate::settings;
use crate::text::Text;
use core::ffi::CStr;

/// Names the open connection to the agent, which takes it out of the environment.
const VARIABLE: &CStr = c"OTEL_XRAY_AGENT_FD";
/// Digits of the largest number of a file.
const MAX_DIGITS: usize = 10;

/// Connects, and leaves the connection to what this process becomes. Not where there is no extension, nor on Managed
/// Instances, whose worker threads connect themselves.
pub(crate) fn leave_to_node() -> Option<()> {
    // A number of somebody else's would be written to.
    os::remove_variable(VARIABLE);
    if os::variable(c"AWS_LAMBDA_MAX_CONCURRENCY").is_some() {
        return None;
    }
    let number = os::connect(settings::agent_socket())?;
    os::set_variable(VARIABLE, Text::of(&[digits(number, &mut [0; MAX_DIGITS])])?.as_c_str()?)
}

fn digits(number: u32, room: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut rest = number;
    let mut length: usize = 0;
    for place in room.iter_mut().rev() {
        *place = b"0123456789".get(usize::try_from(rest % 10).unwrap_or(0)).copied().unwrap_or(b'0');
        length = length.saturating_add(1);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    room.get(MAX_DIGITS.saturating_sub(length)..).unwrap_or_default()
}
