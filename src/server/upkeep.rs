//! Copies of the store.

use crate::admin::control::Upkeep;
use crate::server::Node;

impl Upkeep for Node {}
