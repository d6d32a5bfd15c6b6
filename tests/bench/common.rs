//! What the load generators share: users by number, chance, and what was measured.
#![allow(dead_code, reason = "each generator uses its own part of this")]

use std::thread;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use portcullis::clock;

/// A text with `{}` where the user's number goes, padded to five digits.
pub(crate) fn fill(template: &str, number: u64) -> String {
    template.replace("{}", &format!("{number:05}"))
}

/// Which user comes next.
#[derive(Clone, Debug)]
pub(crate) enum Users {
    /// Any of `count`, from `first` on.
    Random { first: u64, count: u64, random: Random },
    /// One after the other, from `next` to `last`, and each `turns` times in all.
    InTurn {
        first: u64,
        next: u64,
        last: u64,
        turn: u64,
        turns: u64,
    },
}

impl Users {
    /// The next user, and for how many-th time; `None` when all have had their turns.
    pub(crate) fn next(&mut self) -> Option<(u64, u64)> {
        match self {
            Self::Random { first, count, random } => Some((random.below(*count) + *first, 0)),
            Self::InTurn {
                first,
                next,
                last,
                turn,
                turns,
            } => {
                if next > last {
                    *next = *first;
                    *turn += 1;
                }
                if *turn >= *turns || next > last {
                    return None;
                }
                let user = *next;
                *next += 1;
                Some((user, *turn))
            }
        }
    }
}

/// Chance good enough to pick users and identifiers (xorshift64*), not for keys.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A different sequence on every run and for every `salt`.
    pub(crate) fn new(salt: u64) -> Self {
        let seed = u64::from_le_bytes(clock::random::<8>());
        Self((seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((self.next() >> 32) * limit) >> 32
    }
}

/// What was measured: how long each good exchange took, and how many went wrong in which way.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    micros: Vec<u32>,
    /// Exchanges that did not end as expected, by what happened.
    wrong: std::collections::BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn good(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        *self.wrong.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        for (what, count) in other.wrong {
            *self.wrong.entry(what).or_default() += count;
        }
    }

    /// One JSON object: rate a second, milliseconds at some percentiles, and what went wrong.
    pub(crate) fn report(mut self, took: Duration) -> serde_json::Value {
        self.micros.sort_unstable();
        let millis = |share: f64| {
            let last = self.micros.len().saturating_sub(1);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a share of an index is an index"
            )]
            let index = (last as f64 * share) as usize;
            self.micros.get(index).map(|&micros| f64::from(micros) / 1000.0)
        };
        serde_json::json!({
            "rate": (self.micros.len() as f64 / took.as_secs_f64()).round(),
            "good": self.micros.len(),
            "seconds": took.as_secs_f64(),
            "p50_ms": millis(0.5),
            "p99_ms": millis(0.99),
            "max_ms": millis(1.0),
            "wrong": self.wrong,
        })
    }
}

/// The span that counts: after the warm-up, until the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

impl Span {
    pub(crate) fn starting_now(warm_up: f64, seconds: f64) -> Self {
        let from = clock::monotonic() + Duration::from_secs_f64(warm_up);
        Self {
            from,
            to: from + Duration::from_secs_f64(seconds),
        }
    }

    pub(crate) fn counts(&self, now: Instant) -> bool {
        now >= self.from && now < self.to
    }
}

/// Six digits for a time step (RFC 6238, SHA-1).
pub(crate) fn totp(key: &[u8], step: u64) -> String {
    let mac = Hmac::<sha1::Sha1>::new_from_slice(key).expect("any key will do");
    let digest = mac.chain_update(step.to_be_bytes()).finalize().into_bytes();
    let at = usize::from(digest[19] & 15);
    let word: [u8; 4] = digest[at..at + 4].try_into().expect("4 octets");
    format!("{:06}", (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000)
}

/// The time step of the first turn: the one before now, and, for codes of several turns, now is not near
/// its end.
pub(crate) fn fresh_step(turns: bool) -> u64 {
    while turns && clock::now().secs() % 30 > 15 {
        thread::sleep(Duration::from_millis(100));
    }
    clock::now().secs() / 30 - 1
}
