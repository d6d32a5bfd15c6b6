//! What the admin front end asks of the process, by subject.

mod health;
mod helpdesk;
mod operators;
mod policies;
mod upkeep;

pub use health::Health;
pub use helpdesk::Helpdesk;
pub use operators::OperatorBook;
pub use policies::PolicyTools;
pub use upkeep::{Backup, Upkeep};
