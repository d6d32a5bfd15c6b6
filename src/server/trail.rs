//! The audit as a whole: retention, checkpoints.

use crate::admin::control::Trail;
use crate::server::Node;

impl Trail for Node {}
