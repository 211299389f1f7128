//! What holds for any spans whatever (P2, BET-1, BET-2, BET-10): checked on random flushes and on the worst ones
//! anybody could think of. The judge of a document is the local X-Ray's own check.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "laws/hostile.rs"]
mod hostile;
#[path = "laws/random.rs"]
mod random;
#[path = "laws/sdk_documents.rs"]
mod sdk_documents;
#[path = "laws/stage.rs"]
mod stage;
