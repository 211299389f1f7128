//! Writing JSON into a buffer. Half of a translation's time is spent here, so texts are looked at eight bytes at a
//! time and field names go out as they stand.

/// What can be written as JSON.
pub(crate) trait Json {
    fn write(&self, out: &mut String);
}

impl Json for str {
    fn write(&self, out: &mut String) {
        out.push('"');
        if is_plain(self.as_bytes()) {
            out.push_str(self);
        } else {
            escape(self, out);
        }
        out.push('"');
    }
}

impl Json for bool {
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Json for u64 {
    fn write(&self, out: &mut String) {
        out.push_str(itoa::Buffer::new().format(*self));
    }
}

impl Json for i64 {
    fn write(&self, out: &mut String) {
        out.push_str(itoa::Buffer::new().format(*self));
    }
}

/// Finite numbers only: JSON has no others.
impl Json for f64 {
    fn write(&self, out: &mut String) {
        out.push_str(&serde_json::to_string(self).unwrap_or_default());
    }
}

impl Json for serde_json::Value {
    fn write(&self, out: &mut String) {
        out.push_str(&self.to_string());
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, out: &mut String) {
        list(out, self);
    }
}

impl Json for std::borrow::Cow<'_, str> {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

/// A field's name with what stands around it: `,"name":`. The macro `name` makes it.
#[derive(Clone, Copy)]
pub(crate) struct Name(pub(crate) &'static str);

macro_rules! name {
    ($name:literal) => {
        $crate::document::json::Name(concat!(",\"", $name, "\":"))
    };
}
pub(crate) use name;

/// An object whose field names are known and need no escape.
pub(crate) struct Fields<'o> {
    out: &'o mut String,
    is_empty: bool,
}

impl<'o> Fields<'o> {
    pub(crate) fn begin(out: &'o mut String) -> Self {
        Self { out, is_empty: true }
    }

    pub(crate) fn put(&mut self, name: Name, value: &(impl Json + ?Sized)) {
        let Name(name) = name;
        if self.is_empty {
            self.is_empty = false;
            self.out.push('{');
            self.out.push_str(&name[1..]);
        } else {
            self.out.push_str(name);
        }
        value.write(self.out);
    }

    pub(crate) fn put_some(&mut self, name: Name, value: Option<&(impl Json + ?Sized)>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Only what is true is said.
    pub(crate) fn put_true(&mut self, name: Name, flag: bool) {
        if flag {
            self.put(name, &true);
        }
    }

    pub(crate) fn end(self) {
        self.out.push_str(if self.is_empty { "{}" } else { "}" });
    }
}

/// A list.
pub(crate) fn list<T: Json>(out: &mut String, items: impl IntoIterator<Item = T>) {
    let mut open = '[';
    for item in items {
        out.push(open);
        item.write(out);
        open = ',';
    }
    out.push_str(if open == '[' { "[]" } else { "]" });
}

/// An object.
pub(crate) fn object<N: AsRef<str>, V: Json>(out: &mut String, entries: impl IntoIterator<Item = (N, V)>) {
    let mut open = '{';
    for (name, value) in entries {
        out.push(open);
        name.as_ref().write(out);
        out.push(':');
        value.write(out);
        open = ',';
    }
    out.push_str(if open == '{' { "{}" } else { "}" });
}

/// The text of a value.
pub(crate) fn written(json: &(impl Json + ?Sized)) -> String {
    let mut out = String::new();
    json.write(&mut out);
    out
}

/// The value that was written, for those who want to change it.
pub(crate) fn to_value(json: &impl Json) -> serde_json::Value {
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

/// Whether a text can go out as it is.
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().all(|word| !needs_escape(u64::from_le_bytes(*word)))
        && !needs_escape(u64::from_le_bytes(last))
}

fn escape(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        // What is escaped is ASCII, and so are the bounds of what lies between.
        out.push_str(&text[done..at]);
        done = at + 1;
        out.push('\\');
        out.push(char::from(short));
        if short == b'u' {
            out.push_str("00");
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out.push_str(&text[done..]);
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
        let mut out = String::new();
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
        assert_eq!(out, r#"[1,-2][]{"a\"":1.5}{}{"n":18446744073709551615,"yes":true}{}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_a_json_library_writes_it(text in "(?s).{0,100}") {
            prop_assert_eq!(written(text.as_str()), serde_json::to_string(&text).unwrap());
        }
    }
}
