//! What is done to many accounts, or later.

use crate::admin::control::Helpdesk;
use crate::server::Node;

impl Helpdesk for Node {}
