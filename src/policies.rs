//! Sets of policy files: read whole, compared, kept as versions, put back, and tried on what has happened.

pub mod diff;
pub mod files;
pub mod folder;
pub mod replay;
pub mod versions;
