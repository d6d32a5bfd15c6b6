//! What the steps of workflows do, one file each.

mod enrol;
