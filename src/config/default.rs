//! Defaults that serde wants as functions.
use std::time::Duration;

use super::{Requirement, Version};

pub(super) fn login_attributes() -> Vec<String> {
    vec!["uid".into()]
}
pub(super) fn person_filter() -> String {
    "(objectClass=person)".into()
}
pub(super) fn key_attribute() -> String {
    "entryUUID".into()
}
pub(super) fn manager_attribute() -> String {
    "manager".into()
}
pub(super) fn group_attribute() -> String {
    "memberOf".into()
}
pub(super) fn group_filter() -> String {
    "(member={dn})".into()
}
pub(super) const fn connect_timeout() -> Duration {
    Duration::from_secs(2)
}
pub(super) const fn timeout() -> Duration {
    Duration::from_secs(3)
}
pub(super) const fn look_ups() -> usize {
    4
}
pub(super) const fn binds() -> usize {
    16
}
pub(super) const fn queue() -> usize {
    512
}
pub(super) const fn cache() -> Duration {
    Duration::from_secs(30)
}
pub(super) const fn health() -> Duration {
    Duration::from_secs(5)
}
pub(super) const fn max_connection_age() -> Duration {
    Duration::from_secs(3600)
}
pub(super) const fn max_connection_idle() -> Duration {
    Duration::from_secs(240)
}
pub(super) const fn relay_connections() -> usize {
    4096
}
pub(super) const fn remember() -> Duration {
    Duration::from_secs(300)
}
pub(super) fn radius_name() -> String {
    "radius".into()
}
pub(super) const fn replay() -> Duration {
    Duration::from_secs(10)
}
pub(super) const fn in_flight() -> usize {
    1024
}
pub(super) const fn workers() -> usize {
    1
}
pub(super) const fn auto() -> Requirement {
    Requirement::Auto
}
pub(super) const fn yes() -> bool {
    true
}
pub(super) const fn reject_delay() -> Duration {
    Duration::from_secs(1)
}
pub(super) const fn bind_reject_delay() -> Duration {
    Duration::from_millis(100)
}
pub(super) const fn connections() -> usize {
    4096
}
pub(super) const fn pdu_before() -> usize {
    1 << 20
}
pub(super) const fn pdu_after() -> usize {
    16 << 20
}
pub(super) const fn idle() -> Duration {
    Duration::from_secs(900)
}
pub(super) fn versions() -> Vec<Version> {
    vec![Version::V10, Version::V11]
}
pub(super) const fn radius_connections() -> usize {
    1024
}
pub(super) const fn connections_per_source() -> usize {
    64
}
pub(super) const fn handshakes_per_source() -> u32 {
    10
}
pub(super) const fn handshake() -> Duration {
    Duration::from_secs(10)
}
pub(super) const fn in_flight_per_connection() -> usize {
    256
}
