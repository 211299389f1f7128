//! Bytes that are worth a closer look, as a table: most bytes of a text are none of them.

/// For each byte, whether it is one of `signs`.
pub(super) const fn table(signs: &[u8]) -> [bool; 256] {
    let mut is_sign = [false; 256];
    let mut at = 0;
    while at < signs.len() {
        is_sign[signs[at] as usize] = true;
        at += 1;
    }
    is_sign
}
