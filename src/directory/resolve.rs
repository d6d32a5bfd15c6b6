//! The addresses of a server's name.
//!
//! The system's resolver blocks a thread for as long as it likes. One thread at a time asks for one server,
//! whoever wants to know waits for that answer, and it is remembered for a moment. Where the configuration
//! says whom to ask, a task does so instead.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::clock;
use crate::directory::dns::Dns;

/// Finds the addresses of one server.
pub(super) struct Resolver {
    host: String,
    port: u16,
    /// Whom to ask; the system when absent.
    dns: Option<Dns>,
    known: Mutex<Option<Known>>,
    /// The question under way. Who goes away while it is asked leaves it to the next.
    question: tokio::sync::Mutex<Option<JoinHandle<io::Result<Vec<SocketAddr>>>>>,
}

struct Known {
    addresses: Arc<[SocketAddr]>,
    /// `None` for what does not change: the URL has an address instead of a name.
    until: Option<Instant>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16, dns: Option<Dns>) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|address| Known {
            addresses: [SocketAddr::new(address, port)].into(),
            until: None,
        });
        Self {
            host: host.to_owned(),
            port,
            dns,
            known: Mutex::new(literal),
            question: tokio::sync::Mutex::default(),
        }
    }

    /// The addresses, the one that worked last before the others.
    ///
    /// # Errors
    /// As the resolver gives them; [`io::ErrorKind::NotFound`] when the name has no address.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(known) = self.remembered() {
            return Ok(known);
        }
        let mut question = self.question.lock().await;
        // Whoever had the lock may have found out.
        if let Some(known) = self.remembered() {
            return Ok(known);
        }
        let asked = question.get_or_insert_with(|| {
            let (host, port) = (self.host.clone(), self.port);
            match self.dns.clone() {
                Some(dns) => tokio::spawn(async move { Ok(dns.addresses(&host, port).await?) }),
                None => tokio::task::spawn_blocking(move || Ok((host.as_str(), port).to_socket_addrs()?.collect())),
            }
        });
        let answer = asked.await;
        *question = None;
        let mut addresses = answer.map_err(io::Error::other)??;
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let addresses: Arc<[SocketAddr]> = addresses.into();
        *self.known.lock() = Some(Known {
            addresses: Arc::clone(&addresses),
            until: Some(clock::monotonic() + REMEMBERED),
        });
        Ok(addresses)
    }

    /// `address` works: it is tried first for as long as the addresses are remembered.
    pub(super) fn prefer(&self, address: SocketAddr) {
        let mut known = self.known.lock();
        if let Some(known) = &mut *known
            && known.addresses.first() != Some(&address)
            && known.addresses.contains(&address)
        {
            let others = known.addresses.iter().filter(|other| **other != address);
            known.addresses = std::iter::once(&address).chain(others).copied().collect();
        }
    }

    /// None of the addresses works: the name may have others by now.
    pub(super) fn forget(&self) {
        self.known.lock().take_if(|known| known.until.is_some());
    }

    fn remembered(&self) -> Option<Arc<[SocketAddr]>> {
        let known = self.known.lock();
        let known = known.as_ref()?;
        let good = known.until.is_none_or(|until| clock::monotonic() < until);
        good.then(|| Arc::clone(&known.addresses))
    }
}

/// How long an answer is taken for true. Few resolvers let it live for less.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

#[cfg(test)]
impl Resolver {
    /// One that knows.
    pub(super) fn knowing(addresses: &[SocketAddr]) -> Self {
        let resolver = Self::new("invalid.", 0, None);
        *resolver.known.lock() = Some(Known {
            addresses: addresses.into(),
            until: None,
        });
        resolver
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_no_question() {
        for (host, address) in [("127.0.0.1", "127.0.0.1:389"), ("::1", "[::1]:389")] {
            let resolver = Resolver::new(host, 389, None);
            resolver.forget();
            assert_eq!(*resolver.addresses().await.unwrap(), [address.parse().unwrap()]);
        }
    }

    #[tokio::test]
    async fn a_question_is_left_to_the_next_who_asks() {
        let resolver = Resolver::new("localhost", 389, None);
        let (told, asked) = std::sync::mpsc::channel();
        *resolver.question.lock().await = Some(tokio::task::spawn_blocking(move || {
            let () = asked.recv().map_err(io::Error::other)?;
            Ok(vec![([127, 0, 0, 9], 389).into()])
        }));
        let early = tokio::time::timeout(Duration::from_millis(20), resolver.addresses());
        assert!(early.await.is_err());
        told.send(()).unwrap();
        assert_eq!(*resolver.addresses().await.unwrap(), [([127, 0, 0, 9], 389).into()]);
        assert!(resolver.remembered().is_some());
        resolver.forget();
        assert!(resolver.remembered().is_none());
    }

    #[tokio::test]
    async fn what_works_comes_first() {
        let all: [SocketAddr; 3] = [1, 2, 3].map(|last| ([127, 0, 0, last], 1).into());
        let resolver = Resolver::knowing(&all);
        resolver.prefer(all[2]);
        assert_eq!(*resolver.addresses().await.unwrap(), [all[2], all[0], all[1]]);
        resolver.prefer(([127, 0, 0, 4], 1).into());
        assert_eq!(*resolver.addresses().await.unwrap(), [all[2], all[0], all[1]]);
    }
}
