//! Policies: comparing, replaying, keeping and taking back.

use crate::admin::control::PolicyTools;
use crate::server::Node;

impl PolicyTools for Node {}
