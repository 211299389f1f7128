//! Writing JSON into a buffer. Half of a translation's time is spent here, so texts are looked at eight bytes at a
//! time and field names go out as they stand.

/// What can be written as JSON.
pub(super) trait Json {
    fn write(&self, out: &mut Vec<u8>);
}

impl Json for str {
    fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len() + 2);
        out.push(b'"');
        escape(self.as_bytes(), out);
        out.push(b'"');
    }
}

impl Json for bool {
    fn write(&self, out: &mut Vec<u8>) {
        raw(out, if *self { "true" } else { "false" });
    }
}

impl Json for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        raw(out, itoa::Buffer::new().format(*self));
    }
}

impl Json for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        raw(out, itoa::Buffer::new().format(*self));
    }
}

/// Finite numbers only: JSON has no others.
impl Json for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(out, self);
    }
}

impl Json for serde_json::Value {
    fn write(&self, out: &mut Vec<u8>) {
        let _ = serde_json::to_writer(out, self);
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        list(out, self);
    }
}

impl Json for std::borrow::Cow<'_, str> {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

/// Text that is JSON already.
pub(super) fn raw(out: &mut Vec<u8>, json: &str) {
    out.extend_from_slice(json.as_bytes());
}

/// A field's name with what stands around it: `,"name":`. The macro `name` makes it.
#[derive(Clone, Copy)]
pub(super) struct Name(pub(super) &'static str);

macro_rules! name {
    ($name:literal) => {
        $crate::translate::json::Name(concat!(",\"", $name, "\":"))
    };
}
pub(super) use name;

/// An object whose field names are known and need no escape.
pub(super) struct Fields<'o> {
    out: &'o mut Vec<u8>,
    begin: usize,
}

impl<'o> Fields<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        let begin = out.len();
        Self { out, begin }
    }

    pub(super) fn put(&mut self, name: Name, value: &(impl Json + ?Sized)) {
        raw(self.out, name.0);
        value.write(self.out);
    }

    pub(super) fn put_some(&mut self, name: Name, value: Option<&(impl Json + ?Sized)>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Only what is true is said.
    pub(super) fn put_true(&mut self, name: Name, flag: bool) {
        if flag {
            self.put(name, &true);
        }
    }

    pub(super) fn end(self) {
        match self.out.get_mut(self.begin) {
            // Each field has brought a comma; the first one's is where the object begins.
            Some(comma) => {
                *comma = b'{';
                self.out.push(b'}');
            }
            None => raw(self.out, "{}"),
        }
    }
}

/// A list.
pub(super) fn list<T: Json>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>) {
    let mut open = b'[';
    for item in items {
        out.push(open);
        item.write(out);
        open = b',';
    }
    raw(out, if open == b'[' { "[]" } else { "]" });
}

/// An object.
pub(super) fn object<N: AsRef<str>, V: Json>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = (N, V)>) {
    let mut open = b'{';
    for (name, value) in entries {
        out.push(open);
        name.as_ref().write(out);
        out.push(b':');
        value.write(out);
        open = b',';
    }
    raw(out, if open == b'{' { "{}" } else { "}" });
}

/// The text of a value.
pub(super) fn written(json: &(impl Json + ?Sized)) -> String {
    let mut out = Vec::new();
    json.write(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// The value that was written, for those who want to change it.
pub(super) fn to_value(json: &impl Json) -> serde_json::Value {
    // What is written here can be read.
    serde_json::from_str(&written(json)).unwrap_or_default()
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Whether any of eight bytes is a quote, a backslash or a control character.
fn needs_escape(eight: u64) -> bool {
    // Bit tricks: subtracting borrows into the high bit of a byte exactly where the byte was smaller.
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(ONES * limit) & !bytes & HIGHS;
    let is = |byte: u64| below(eight ^ (ONES * byte), 1);
    below(eight, 0x20) | is(u64::from(b'"')) | is(u64::from(b'\\')) != 0
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        if needs_escape(u64::from_le_bytes(*word)) {
            escape_bytes(word, out);
        } else {
            out.extend_from_slice(word);
        }
    }
    let mut padded = [b' '; 8];
    padded[..rest.len()].copy_from_slice(rest);
    if needs_escape(u64::from_le_bytes(padded)) {
        escape_bytes(rest, out);
    } else {
        out.extend_from_slice(rest);
    }
}

fn escape_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            escape_one(*byte, out);
        } else {
            out.push(*byte);
        }
    }
}

fn escape_one(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend([b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doc_1_every_ascii_character_at_every_place_of_a_word() {
        for code in 0..128_u8 {
            for before in 0..9 {
                let text = format!("{}{}{}", "x".repeat(before), code as char, "ä".repeat(5));
                assert_eq!(written(text.as_str()), serde_json::to_string(&text).unwrap());
            }
        }
    }

    #[test]
    fn lists_objects_and_numbers() {
        let mut out = Vec::new();
        list(&mut out, [1_i64, -2]);
        list(&mut out, Vec::<bool>::new());
        object(&mut out, [("a\"", 1.5_f64)]);
        object(&mut out, Vec::<(&str, bool)>::new());
        let mut fields = Fields::begin(&mut out);
        fields.put(name!("n"), &u64::MAX);
        fields.put_some(name!("none"), None::<&bool>);
        fields.put_true(name!("no"), false);
        fields.put_true(name!("yes"), true);
        fields.end();
        Fields::begin(&mut out).end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[1,-2][]{"a\"":1.5}{}{"n":18446744073709551615,"yes":true}{}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_a_json_library_writes_it(text in "(?s).{0,100}") {
            prop_assert_eq!(written(text.as_str()), serde_json::to_string(&text).unwrap());
        }
    }
}
