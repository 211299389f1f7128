//! Where in its frames a client is (RFC 9113, section 4.1): between two of them it may be idle, in the middle of one it
//! owes the rest.

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// A block of headers as it is written. `h2` bounds only what it has read of it, and the number of frames.
pub(super) const MAX_BLOCK_BYTES: usize = 16 * 1024;

/// Follows the bytes of one client that keeps to the rules: who breaks them is cut by `h2`.
#[derive(Debug)]
pub(super) struct Framing {
    /// The beginning of a frame's head.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// What is still to come of a payload, or of the preface.
    missing: usize,
    /// Headers have begun, and go on in the next frame.
    is_in_block: bool,
    /// What their frames come to.
    block_bytes: usize,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            missing: PREFACE_BYTES,
            is_in_block: false,
            block_bytes: 0,
        }
    }
}

impl Framing {
    /// False when a block of headers is too large, whether or not all of it has come.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut is_small = true;
        while !bytes.is_empty() {
            let passed = if self.missing > 0 {
                let passed = self.missing.min(bytes.len());
                self.missing -= passed;
                passed
            } else {
                self.pass_head(bytes)
            };
            is_small &= self.block_bytes <= MAX_BLOCK_BYTES;
            bytes = bytes.get(passed..).unwrap_or_default();
        }
        is_small
    }

    /// Whether all that has begun has ended.
    pub(super) fn is_between(&self) -> bool {
        self.head_bytes == 0 && self.missing == 0 && !self.is_in_block
    }

    fn pass_head(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        for (place, byte) in self.head[self.head_bytes..].iter_mut().zip(bytes) {
            *place = *byte;
            passed += 1;
        }
        self.head_bytes += passed;
        if self.head_bytes == HEAD_BYTES {
            let [high, middle, low, kind, flags, ..] = self.head;
            self.head_bytes = 0;
            self.missing = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if matches!(kind, HEADERS | CONTINUATION) {
                let before = if self.is_in_block { self.block_bytes } else { 0 };
                self.block_bytes = before + self.missing;
                self.is_in_block = flags & END_HEADERS == 0;
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_client::{self as client, Client};
    use super::*;

    #[test]
    fn a_client_is_in_the_middle_of_something_until_its_last_byte() {
        let mut whole = Vec::new();
        let mut ends = Vec::new();
        for (step, ends_something) in [
            (Client::new(), true),
            (Client::default().headers(0, 1), false),
            (Client::default().frame(client::CONTINUATION, 0, 1, &client::header("a", "b")), false),
            (Client::default().frame(client::CONTINUATION, client::END_HEADERS, 1, b""), true),
            (Client::default().frame(client::DATA, client::END_STREAM, 1, &[0; 300]), true),
            (Client::default().frame(client::PING, 0, 0, &[0; 8]), true),
        ] {
            whole.extend(step.0);
            if ends_something {
                ends.push(whole.len());
            }
        }
        // The preface ends before the first frame.
        ends.push(PREFACE_BYTES);
        for size in [1, 2, 7, 100, whole.len()] {
            let (mut framing, mut passed) = (Framing::default(), 0);
            assert!(!framing.is_between());
            for piece in whole.chunks(size) {
                assert!(framing.pass(piece));
                passed += piece.len();
                assert_eq!(framing.is_between(), ends.contains(&passed), "{passed} bytes, {size} at a time");
            }
        }
    }

    #[test]
    fn a_block_of_headers_is_as_large_as_its_frames_together() {
        let block = |frames: &[usize]| {
            let (last, others) = frames.split_last().unwrap();
            let client = others.iter().enumerate().fold(Client::new(), |client, (number, bytes)| {
                let kind = if number == 0 { client::HEADERS } else { client::CONTINUATION };
                client.frame(kind, 0, 1, &vec![0; *bytes])
            });
            let kind = if others.is_empty() { client::HEADERS } else { client::CONTINUATION };
            client.frame(kind, client::END_HEADERS, 1, &vec![0; *last]).0
        };
        for (frames, is_small) in [
            (&[MAX_BLOCK_BYTES][..], true),
            (&[MAX_BLOCK_BYTES + 1], false),
            (&[MAX_BLOCK_BYTES / 2, MAX_BLOCK_BYTES / 2], true),
            (&[MAX_BLOCK_BYTES / 2, 1, MAX_BLOCK_BYTES / 2], false),
        ] {
            for size in [1, 1000, 100_000] {
                let (mut framing, bytes) =
                    (Framing::default(), [block(frames), block(&[100])[24..].to_vec()].concat());
                let is_ever_large = bytes.chunks(size).any(|piece| !framing.pass(piece));
                assert_eq!(!is_ever_large, is_small, "{frames:?}, {size} bytes at a time");
            }
        }
    }
}
