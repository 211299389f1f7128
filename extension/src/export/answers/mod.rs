//! What the other side answers, whoever it is: its codes, its words without our own in them, and errors in one line. For the outlets, which
//! decide by it what becomes of what was sent.

pub(crate) mod caller;
pub(crate) mod quoted;
pub(crate) mod trouble;
