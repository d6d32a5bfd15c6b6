//! The `local` directory: an LDIF file.

/// The entries of an LDIF file.
#[derive(Debug)]
pub struct Tree {}
