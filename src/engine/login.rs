//! The login itself.
