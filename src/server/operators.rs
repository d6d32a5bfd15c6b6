//! Operators: who they are, what they may do, how they prove it.

use crate::admin::control::OperatorBook;
use crate::server::Node;

impl OperatorBook for Node {}
