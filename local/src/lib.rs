//! A Lambda environment and an X-Ray endpoint on this machine.
