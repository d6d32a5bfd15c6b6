//! Portcullis: a RADIUS and LDAP front door that applies passcode and second-factor policies before
//! the directory a company already has.
//!
//! `docs/architecture.md` holds the map. Imports run one way: front ends (`radius`, `ldap`, `admin`)
//! use `engine` types; `store` and `directory` use `engine` types; `verifier` joins engine, store and
//! directory; `server` wires all. `tests/layering.rs` holds this.

pub mod accept;
pub mod accounts;
pub mod admin;
pub mod audit;
pub mod ber;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod dictionary;
pub mod directory;
pub mod dn;
pub mod document;
pub mod engine;
pub mod hashing;
pub mod keyring;
pub mod ldap;
pub mod metrics;
pub mod policies;
pub mod proxy_protocol;
pub mod quiet;
pub mod radius;
pub mod reports;
pub mod reuse;
pub mod schema;
pub mod secret;
pub mod server;
pub mod sessions;
pub mod store;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod verifier;
