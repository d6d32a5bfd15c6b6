//! One battery for all stores, and what only the store on disk must do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "store/archive.rs"]
mod archive;
#[path = "store/battery.rs"]
mod battery;
#[path = "store/disk.rs"]
mod disk;
#[path = "store/rekey.rs"]
mod rekey;
#[path = "store/schema.rs"]
mod schema;
#[path = "support/store.rs"]
mod support;
