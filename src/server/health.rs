//! Trying whether parts work.

use crate::admin::control::Health;
use crate::server::Node;

impl Health for Node {}
