//! The Huffman code of header texts (RFC 7541, appendix B). It is canonical: the lengths say it all.

/// How many bits the code of each byte has.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const MAX_LENGTH: u8 = 30;

/// Decodes a text of at most `limit` bytes. `None` when it is not one.
pub(super) fn decode(coded: &[u8], limit: usize) -> Option<Vec<u8>> {
    let code = Code::new();
    let mut text = Vec::with_capacity(coded.len().min(limit));
    let (mut bits, mut length) = (0_u32, 0_u8);
    for byte in coded {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if let Some(byte) = code.symbol(bits, length) {
                if text.len() == limit {
                    return None;
                }
                text.push(byte);
                (bits, length) = (0, 0);
            } else if length == MAX_LENGTH {
                return None;
            }
        }
    }
    // The last byte is filled up with the first bits, all ones, of the code for the end.
    let is_padding = length < 8 && bits + 1 == 1 << length;
    is_padding.then_some(text)
}

/// For each length, the first code, and where the symbols of that length begin.
struct Code {
    first: [u32; MAX_LENGTH as usize + 1],
    begin: [u16; MAX_LENGTH as usize + 2],
    symbols: [u8; 256],
}

impl Code {
    fn new() -> Self {
        let mut code = Self {
            first: [0; MAX_LENGTH as usize + 1],
            begin: [0; MAX_LENGTH as usize + 2],
            symbols: [0; 256],
        };
        let (mut next, mut count) = (0, 0_u16);
        for length in 1..=MAX_LENGTH {
            next <<= 1;
            code.first[usize::from(length)] = next;
            code.begin[usize::from(length)] = count;
            for (symbol, _) in (0..=u8::MAX).zip(LENGTHS).filter(|(_, of_symbol)| *of_symbol == length) {
                code.symbols[usize::from(count)] = symbol;
                count += 1;
                next += 1;
            }
        }
        code.begin[usize::from(MAX_LENGTH) + 1] = count;
        code
    }

    fn symbol(&self, bits: u32, length: u8) -> Option<u8> {
        let length = usize::from(length);
        let (begin, end) = (self.begin[length], self.begin[length + 1]);
        let at = bits.checked_sub(self.first[length])?;
        (at < u32::from(end - begin)).then(|| self.symbols[usize::from(begin) + at as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc() {
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("aec3771a4b", "private"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
            ("", ""),
        ] {
            assert_eq!(decode(&unhex(coded), 100), Some(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_none() {
        // A zero in the padding, a whole byte of padding, the code for the end, and a text over the limit.
        for bad in ["f1e3c2e5f23a6ba0ab90f4fe", "a8eb10649cbfff", "ffffffff"] {
            assert_eq!(decode(&unhex(bad), 100), None, "{bad}");
        }
        assert_eq!(decode(&unhex("a8eb10649cbf"), 7), None);
    }
}
