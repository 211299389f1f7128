//! Strings put together without an allocator.

use crate::os;
use core::ffi::CStr;

/// Room for a path, or for a list of them.
const MAX_BYTES: usize = 8_192;

/// A C string that grows up to a limit.
pub(crate) struct Text {
    /// The byte at `length` is zero.
    bytes: [u8; MAX_BYTES],
    length: usize,
}

impl Text {
    /// The parts one after the other; none when they are too long.
    pub(crate) fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut text = Self { bytes: [0; MAX_BYTES], length: 0 };
        for byte in parts.iter().copied().flatten() {
            text.push(*byte)?;
        }
        Some(text)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(..MAX_BYTES.saturating_sub(1))?.get_mut(self.length)? = byte;
        self.length = self.length.saturating_add(1);
        Some(())
    }

    pub(crate) fn as_c_str(&self) -> Option<&CStr> {
        os::c_str(&self.bytes)
    }
}
