//! Tests with real peers: slapd, radclient, FreeRADIUS, eapol_test, pam_radius_auth, ldap-utils, python3-ldap3, oathtool.
//!
//! Each test starts what it needs on loopback ports of its own. `tests/run` installs the peers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that meets something unexpected should end there, and say so"
)]

#[path = "../support/mod.rs"]
mod support;

// The fixtures themselves: what they start is what the tests believe they start.
mod peers;

// Accounting, sessions, and limits on them.
mod accounting;
// What operators do to a running server: reload, check, status, audit.
mod admin;
// Answers to security questions, and callers at the helpdesk.
mod answers;
// CHAP and MS-CHAPv2: radclient, and FreeRADIUS that ends PEAP and TTLS before Portcullis.
mod chap;
// RADIUS clients as operators see them.
mod clients;
// Conditions of rules on directories, clients and connections.
mod conditions;
// Codes by mail and through a gateway.
mod delivery;
// People whom an operator keeps out.
mod deny;
// Sessions ended and changed at a NAS.
mod dynauth;
// Directory servers that misbehave in every way, for every operation.
mod faults;
// RADIUS under load that nobody wants.
mod flood;
// RADIUS packets taken apart.
mod decode;
// Whole conversations in which people help themselves, at every kind of client.
mod dialogs;
// The `ldap` and `local` directories through one battery, and servers that misbehave.
mod directory;
// One code, one accept: at once, and over the death of the process.
mod durability;
// Logins that somebody else approves.
mod approvals;
// What helpdesk does to accounts, one or many, now or later.
mod helpdesk;
// Passcodes that take two people.
mod four_eyes;
// The LDAP front end by itself: octets, limits, misbehaviour on either side.
mod front;
// Operators with roles, API tokens, the admin API over TLS.
mod operators;
// Enrolment at first login, and the time that is left for it.
mod enrol;
// Parts tried one by one, and reports.
mod health;
// Keys that type, offline tokens, and machines that cannot reach us.
mod keys;
// VPN logins through ocserv.
mod gateway;
// Applications that bind and search.
mod ldap;
// Directories that are halted, gone or half dead.
mod outages;
// Passwords changed through the LDAP front end.
mod password;
// Security questions: defined, asked, guessed at.
mod questions;
// Load balancers that say whose a connection is.
mod proxy_protocol;
// The command line itself: manual pages, completions, JSON everywhere, the live screen, prompts.
mod manners;
// Codes that count for more than one bind.
mod reuse;
// Tokens of every variant.
mod tokens;
// Machines whose people are in the directory.
mod nslcd;
// Login prompts with pam_radius_auth.
mod pam;
// radclient: passwords, challenges, appended codes.
mod radius;
// RADIUS over TLS through radsecproxy and FreeRADIUS.
mod radsec;
// Web sites behind Apache's mod_authnz_ldap.
mod apache;
// LDAP connections in great number, and clients that take nothing.
mod crowd;
// Attributes that rules add, with real decoders.
mod reply;
// Policies: checked, compared, kept, taken back, tried on what was.
mod policies;
// Applications that bind by SASL: PLAIN, EXTERNAL with certificates.
mod sasl;
// Applications' own accounts on LDAP listeners.
mod service_accounts;
// The audit on its way to collectors.
mod streams;
// The failure counter, over all protocols.
mod throttle;
// Other RADIUS servers that judge passwords or a factor.
mod upkeep;
mod upstream;
