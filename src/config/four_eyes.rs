//! `[passcodes]` and `[approvals]`: what takes a second person.

use std::time::Duration;

use serde::Deserialize;

use crate::engine::approval;
use crate::engine::authenticator::passcode;

/// `[passcodes]`: codes that helpdesk issues.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Passcodes {
    /// Whether who issues one sees the first half only, and a second person releases the second.
    pub four_eyes: bool,
    /// Distinguished name, or `cn`, of the group whose members may release second halves; the person's manager always
    /// may.
    pub second_holder_group: Option<String>,
    /// How long one lives unless it is issued for another time: 1 minute to 8 hours.
    #[serde(with = "crate::document::span")]
    pub life: Duration,
}

impl Default for Passcodes {
    fn default() -> Self {
        Self {
            four_eyes: false,
            second_holder_group: None,
            life: passcode::DEFAULT_LIFE,
        }
    }
}

impl Passcodes {
    /// The bounds of [`Passcodes::life`].
    pub const LIVES: std::ops::RangeInclusive<Duration> = passcode::MIN_LIFE..=passcode::MAX_LIFE;
}

/// `[approvals]`: what somebody else has to allow.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Approvals {
    /// Distinguished name, or `cn`, of the group whose members may approve; the person's manager always may.
    pub group: Option<String>,
    /// How long a request waits for its approval, and the approval for its use: 30 seconds to 10 minutes.
    #[serde(with = "crate::document::span")]
    pub life: Duration,
    /// The `[[delivery]]` by which managers and those who stand for them hear that a request waits for them.
    pub notify: Option<String>,
    /// How long anybody may hand what they approve to somebody else: 1 hour to 365 days.
    #[serde(with = "crate::document::span")]
    pub longest_delegation: Duration,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            group: None,
            life: approval::DEFAULT_LIFE,
            notify: None,
            longest_delegation: approval::DelegationRecord::LONGEST,
        }
    }
}

impl Approvals {
    /// The bounds of [`Approvals::life`].
    pub const LIVES: std::ops::RangeInclusive<Duration> = approval::LIVES;
}
