//! Makes documents fit: one into X-Ray's limit for a document ([`size`]), all of a trace into its limit for a trace
//! ([`budget`]), and small ones into their parents where there are many ([`nest`]). Those of X-Ray SDKs are fitted as the JSON that they
//! are ([`sdk`]).

pub(crate) mod budget;
pub(crate) mod nest;
pub(crate) mod sdk;
pub(crate) mod size;
