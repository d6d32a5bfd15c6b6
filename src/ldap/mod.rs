//! The LDAP front end: binds are judged by the engine, everything else is relayed octet for octet.
//!
//! A message's way: [`frame`] splits the stream; `pump` moves what needs no look; [`session`] says what to
//! do about the rest; [`translate`] turns a bind into a question and the verdict into a result, [`sasl`] and
//! [`controls`] read what it comes by and asks for besides; [`password`] reads what changes a password; `relay`
//! does it; [`authorized`] writes messages anew for people whom the directory has not seen; [`bound`] knows whose
//! connections there are; `embedded` answers where the directory has no server.

mod account;
pub mod authorized;
mod balancer;
pub mod bound;
pub mod controls;
pub mod embedded;
pub mod frame;
pub mod listener;
pub mod login;
mod outstanding;
pub mod password;
mod pump;
mod relay;
pub mod reply;
pub mod restrict;
pub mod sasl;
pub mod session;
mod stream;
pub mod translate;
