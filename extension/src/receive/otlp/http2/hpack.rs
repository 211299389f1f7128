//! Header blocks of HTTP/2 (HPACK, RFC 7541): read with a bounded table, written without one.

use super::huffman;
use std::collections::VecDeque;

/// The most that the table takes up, as the RFC counts it: the default, which is not changed here.
const MAX_TABLE_BYTES: usize = 4096;
/// What an entry counts besides its texts.
const ENTRY_BYTES: usize = 32;
/// The longest name or value.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// A block that can't be read: the table is no longer the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadBlock;

type Text = Vec<u8>;

/// Reads the header blocks of one connection.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    entries: VecDeque<(Text, Text)>,
    bytes: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, limit: MAX_TABLE_BYTES }
    }
}

impl Decoder {
    /// Reads a block, and shows each header.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), BadBlock> {
        let mut rest = block;
        let mut may_resize = true;
        while let Some(&first) = rest.first() {
            if first & 0xe0 == 0x20 {
                let limit = integer(&mut rest, 5)?;
                if limit > MAX_TABLE_BYTES || !may_resize {
                    return Err(BadBlock);
                }
                self.limit = limit;
                self.evict(0);
                continue;
            }
            may_resize = false;
            if first & 0x80 != 0 {
                let (name, value) = self.entry(integer(&mut rest, 7)?)?;
                each(name, value);
                continue;
            }
            let is_kept = first & 0x40 != 0;
            let index = integer(&mut rest, if is_kept { 6 } else { 4 })?;
            let name = if index == 0 { text(&mut rest)? } else { self.entry(index)?.0.to_vec() };
            let value = text(&mut rest)?;
            each(&name, &value);
            if is_kept {
                self.keep(name, value);
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), BadBlock> {
        let at = index.checked_sub(1).ok_or(BadBlock)?;
        match at.checked_sub(STATIC_TABLE.len()) {
            None => Ok((STATIC_TABLE[at].0.as_bytes(), STATIC_TABLE[at].1.as_bytes())),
            Some(at) => self.entries.get(at).map(|(name, value)| (&**name, &**value)).ok_or(BadBlock),
        }
    }

    fn keep(&mut self, name: Text, value: Text) {
        let bytes = ENTRY_BYTES + name.len() + value.len();
        self.evict(bytes);
        if bytes <= self.limit {
            self.bytes += bytes;
            self.entries.push_front((name, value));
        }
    }

    /// Makes room for so many bytes, as far as there is any.
    fn evict(&mut self, bytes: usize) {
        while self.bytes + bytes > self.limit {
            let Some((name, value)) = self.entries.pop_back() else { return };
            self.bytes -= ENTRY_BYTES + name.len() + value.len();
        }
    }
}

/// An integer whose first bits are the last `prefix` of the first byte.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, BadBlock> {
    let mask = (1 << prefix) - 1;
    let mut value = usize::from(next(rest)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14] {
        let byte = next(rest)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(BadBlock)
}

fn text(rest: &mut &[u8]) -> Result<Text, BadBlock> {
    let is_huffman = rest.first().ok_or(BadBlock)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (coded, after) = rest.split_at_checked(length).ok_or(BadBlock)?;
    *rest = after;
    if is_huffman {
        return huffman::decode(coded, MAX_TEXT_BYTES).ok_or(BadBlock);
    }
    Ok(coded.to_vec())
}

fn next(rest: &mut &[u8]) -> Result<u8, BadBlock> {
    let (&first, after) = rest.split_first().ok_or(BadBlock)?;
    *rest = after;
    Ok(first)
}

/// Writes a header as it is, without using a table.
pub(super) fn encode(name: &str, value: &str, block: &mut Vec<u8>) {
    block.push(0);
    for text in [name, value] {
        let mut length = text.len();
        if length < 0x7f {
            block.extend(length.to_le_bytes().first());
        } else {
            block.push(0x7f);
            length -= 0x7f;
            while length >= 0x80 {
                block.extend((0x80 | (length % 0x80)).to_le_bytes().first());
                length /= 0x80;
            }
            block.extend(length.to_le_bytes().first());
        }
        block.extend_from_slice(text.as_bytes());
    }
}

/// Appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, BadBlock> {
        let mut headers = Vec::new();
        decoder.decode(block, |name, value| {
            headers.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        })?;
        Ok(headers)
    }

    /// Appendix C.3 and C.4: three requests of one connection, plain and coded.
    #[test]
    fn the_examples_of_the_rfc() {
        let plain = [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ];
        let coded = [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ];
        for blocks in [plain, coded] {
            let mut decoder = Decoder::default();
            let first = [":method=GET", ":scheme=http", ":path=/", ":authority=www.example.com"];
            assert_eq!(read(&mut decoder, &unhex(blocks[0])).unwrap(), first);
            let second = [
                ":method=GET",
                ":scheme=http",
                ":path=/",
                ":authority=www.example.com",
                "cache-control=no-cache",
            ];
            assert_eq!(read(&mut decoder, &unhex(blocks[1])).unwrap(), second);
            let third = [
                ":method=GET",
                ":scheme=https",
                ":path=/index.html",
                ":authority=www.example.com",
                "custom-key=custom-value",
            ];
            assert_eq!(read(&mut decoder, &unhex(blocks[2])).unwrap(), third);
            assert_eq!(decoder.bytes, 164);
        }
    }

    #[test]
    fn the_table_is_bounded_and_follows_the_other_side() {
        let mut decoder = Decoder::default();
        for number in 0..1000_u16 {
            let mut block = vec![0x40, 1, b'a', 100];
            block.extend(vec![b'0' + number.to_le_bytes()[0] % 10; 100]);
            read(&mut decoder, &block).unwrap();
            assert!(decoder.bytes <= MAX_TABLE_BYTES);
        }
        assert_eq!(decoder.entries.len(), MAX_TABLE_BYTES / 133);
        assert_eq!(read(&mut decoder, &[0xbe]).unwrap()[0].len(), 102);
        read(&mut decoder, &[0x20]).unwrap();
        assert!(decoder.entries.is_empty());
        assert_eq!(read(&mut decoder, &[0xbe]), Err(BadBlock));
    }

    #[test]
    fn what_is_no_block_is_an_error() {
        for bad in ["80", "ff80808080", "40", "4001", "400161", "00ff", "3fe21f", "8220", "7f00", "0081ff"] {
            assert_eq!(read(&mut Decoder::default(), &unhex(bad)), Err(BadBlock), "{bad}");
        }
        assert_eq!(read(&mut Decoder::default(), &unhex("3fe11f82")).unwrap(), [":method=GET"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 20_000] {
            let mut block = Vec::new();
            encode("name", &"v".repeat(length), &mut block);
            let headers = read(&mut Decoder::default(), &block).unwrap();
            assert_eq!(headers, [format!("name={}", "v".repeat(length))]);
        }
    }
}
