//! How many connections each source has, and how fast it opens them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::RadiusListener;
use crate::radius::drops::Closing;

/// The sources of a listener's connections; bounded in number.
#[derive(Debug)]
pub(super) struct Sources {
    /// Connections at once.
    most: usize,
    /// New connections a second.
    rate: u32,
    open: Mutex<HashMap<IpAddr, Source>>,
}

#[derive(Debug)]
struct Source {
    open: usize,
    /// New connections that it may open at once: fills up with time.
    allowance: f64,
    counted: Instant,
}

impl Source {
    fn refill(&mut self, rate: u32, now: Instant) {
        let gone = now.saturating_duration_since(self.counted).as_secs_f64();
        self.allowance = (self.allowance + gone * f64::from(rate)).min(f64::from(rate));
        self.counted = now;
    }
}

/// One connection of a source, for as long as it lives.
#[derive(Debug)]
pub(super) struct Share {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// Sources remembered. One that has nothing open is forgotten when its allowance is whole again.
    const MOST: usize = 16_384;

    pub(super) fn new(config: &RadiusListener) -> Self {
        Self {
            most: config.connections_per_source,
            rate: config.handshakes_per_source,
            open: Mutex::default(),
        }
    }

    /// Counts a connection from `address`.
    ///
    /// # Errors
    /// Why there may be none.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Share, Closing> {
        let address = grouped(address);
        let mut all = self.open.lock();
        if all.len() >= Self::MOST && !all.contains_key(&address) {
            all.retain(|_, source| {
                source.refill(self.rate, now);
                source.open > 0 || source.allowance < f64::from(self.rate)
            });
            if all.len() >= Self::MOST {
                return Err(Closing::TooFast);
            }
        }
        let source = all.entry(address).or_insert(Source {
            open: 0,
            allowance: f64::from(self.rate),
            counted: now,
        });
        source.refill(self.rate, now);
        if source.open >= self.most {
            return Err(Closing::TooManyOfSource);
        }
        if source.allowance < 1.0 {
            return Err(Closing::TooFast);
        }
        source.allowance -= 1.0;
        source.open += 1;
        Ok(Share {
            sources: Arc::clone(self),
            source: address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(source) = self.sources.open.lock().get_mut(&self.source) {
            source.open -= 1;
        }
    }
}

/// Whoever has one IPv6 address has its /64.
fn grouped(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn sources(lines: &str) -> Arc<Sources> {
        let config = toml::from_str(&format!("listen = '127.0.0.1:0'\n{lines}")).unwrap();
        Arc::new(Sources::new(&config))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_has_so_many_and_no_more() {
        let sources = sources("connections_per_source = 2");
        let now = clock::monotonic();
        let one = sources.admit(address("2001:db8::1"), now).unwrap();
        let _two = sources.admit(address("2001:db8::2"), now).unwrap();
        assert_eq!(
            sources.admit(address("2001:db8::3"), now).unwrap_err(),
            Closing::TooManyOfSource,
            "one /64"
        );
        assert!(sources.admit(address("2001:db8:0:1::1"), now).is_ok());
        drop(one);
        assert!(sources.admit(address("2001:db8::3"), now).is_ok());
    }

    #[test]
    fn a_source_opens_them_no_faster_than_it_may() {
        let sources = sources("handshakes_per_source = 4");
        let now = clock::monotonic();
        let admitted = |address: &str, now| sources.admit(address.parse().unwrap(), now).map(drop);
        for _ in 0..4 {
            admitted("192.0.2.1", now).unwrap();
        }
        assert_eq!(admitted("::ffff:192.0.2.1", now), Err(Closing::TooFast));
        admitted("192.0.2.2", now).unwrap();
        let later = now + Duration::from_millis(260);
        admitted("192.0.2.1", later).unwrap();
        assert_eq!(admitted("192.0.2.1", later), Err(Closing::TooFast));
    }

    #[test]
    fn sources_are_forgotten() {
        let sources = sources("");
        let now = clock::monotonic();
        for number in 0..20_000u32 {
            let _ = sources.admit(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(sources.open.lock().len(), Sources::MOST);
        assert_eq!(sources.admit(address("192.0.2.1"), now).unwrap_err(), Closing::TooFast);
        let later = now + Duration::from_secs(1);
        let _share = sources.admit(address("192.0.2.1"), later).unwrap();
        assert_eq!(sources.open.lock().len(), 1);
    }
}
