//! The Node.js agent's pipe to the extension, claimed here: Node.js would first have to compile what makes the same three calls.

use crate::os;
use crate::text::Text;

/// Digits of the largest number of a process or a file.
const MAX_DIGITS: usize = 10;

/// Claims the pipe, and gives its number in this process and in the one it becomes. None where there is no extension, and
/// on Managed Instances, whose worker threads claim one each.
pub(crate) fn claim() -> Option<Text> {
    if os::variable(c"AWS_LAMBDA_MAX_CONCURRENCY").is_some() {
        return None;
    }
    let name = os::variable(c"OTEL_XRAY_AGENT_SOCKET").unwrap_or(c"otel-xray").to_bytes();
    let path = Text::of(&[b"/tmp/.", name])?;
    let claimed = Text::of(&[b"/tmp/.", name, b".", digits(os::process(), &mut [0; MAX_DIGITS])])?;
    let pipe = os::claim_pipe(path.as_c_str()?, claimed.as_c_str()?)?;
    Text::of(&[digits(pipe, &mut [0; MAX_DIGITS])])
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
