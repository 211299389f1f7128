//! Whether the extension stands in for the X-Ray daemon, so that an X-Ray SDK can be pointed at it.

use crate::os;
use crate::settings;
use crate::text::Text;
use core::ffi::CStr;
use core::net::SocketAddrV4;

/// `local_address` of a row in `/proc/net/udp` for `127.0.0.1:2000` is `0100007F:07D0`.
const ROW_BYTES: usize = 13;
/// Rows of a hundred sockets: those of the environment are few.
const TABLE_BYTES: usize = 16_000;

/// The address for `AWS_XRAY_DAEMON_ADDRESS`; none when nobody listens there, or when the user has chosen another (L-11.5, ENV-2).
pub(crate) fn address() -> Option<Text> {
    if is_chosen_by_user() {
        return None;
    }
    let (text, address) = settings::daemon()?;
    is_listening(address).then_some(text)
}

/// Whether the address is another one than that which Lambda has set.
fn is_chosen_by_user() -> bool {
    let Some(address) = os::variable(c"AWS_XRAY_DAEMON_ADDRESS").map(CStr::to_bytes) else {
        return false;
    };
    let lambdas = |rest: &[u8]| {
        let host = os::variable(c"_AWS_XRAY_DAEMON_ADDRESS").unwrap_or_default().to_bytes();
        let port = os::variable(c"_AWS_XRAY_DAEMON_PORT").unwrap_or_default().to_bytes();
        rest.strip_prefix(host).and_then(|rest| rest.strip_prefix(b":")) == Some(port)
    };
    !address.starts_with(b"169.254.") && !lambdas(address)
}

/// Whether a UDP socket is bound there, as the kernel lists them: no datagram would be answered.
fn is_listening(address: SocketAddrV4) -> bool {
    let mut table = [0; TABLE_BYTES];
    let row = row(address);
    os::read(c"/proc/net/udp", &mut table).windows(ROW_BYTES).any(|window| window == row)
}

fn row(address: SocketAddrV4) -> [u8; ROW_BYTES] {
    // The kernel prints the address as a number of the machine, and the port as it is.
    let host = u32::from_ne_bytes(address.ip().octets()).to_be_bytes();
    let port = address.port().to_be_bytes();
    let mut row = [b':'; ROW_BYTES];
    let digits = host.iter().chain(&port).flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| match digit {
        0..10 => b'0' | digit,
        _ => b'A'.wrapping_add(digit.wrapping_sub(10)),
    });
    let places = row.iter_mut().enumerate().filter(|(index, _)| *index != 8).map(|(_, place)| place);
    for (place, digit) in places.zip(digits) {
        *place = digit;
    }
    row
}
