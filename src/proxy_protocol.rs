//! The PROXY protocol, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`): what a load balancer writes in
//! front of a connection to say whose it is.
//!
//! Only who is trusted to say it may be asked ([`read`]): everybody can write such a header. Not one octet
//! behind the header is read, so that TLS or whatever is spoken can begin there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// This client's; IPv4 in its own form.
    Client(SocketAddr),
    /// The balancer's own, such as a health check (`LOCAL`), or of somebody without an address (`UNKNOWN`,
    /// Unix sockets): the address of the connection counts.
    Unnamed,
}

/// Why there was no header to be had.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection was closed before anything came: a balancer that looks whether somebody is there.
    #[error("closed before anything was sent")]
    Nothing,
    /// The connection ended within the header.
    #[error("closed within the PROXY header")]
    Cut,
    /// It did not come in time.
    #[error("the PROXY header did not come in time")]
    Late,
    /// What came is something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// Longer than its version allows, or than [`MOST_OCTETS`].
    #[error("the PROXY header is too long")]
    TooLong,
    /// It begins like one and is none.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(String),
    /// The connection broke.
    #[error("cannot read the PROXY header")]
    Io(#[source] io::Error),
}

impl Fault {
    /// The stable word for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "proxy-header-nothing",
            Self::Cut | Self::Io(_) => "proxy-header-cut",
            Self::Late => "proxy-header-late",
            Self::Missing => "proxy-header-missing",
            Self::TooLong => "proxy-header-too-long",
            Self::Malformed(_) => "proxy-header-malformed",
        }
    }
}

/// Longest header of version 2 that is read, in octets. The format would allow 65,551; what balancers add to the
/// addresses (names of TLS sessions, certificates' subjects, identifiers of clouds) takes some hundreds.
pub const MOST_OCTETS: usize = 4096;

/// Reads the header that `stream` begins with, and nothing behind it. `patience` is for all of it, however slowly
/// it comes.
///
/// # Errors
/// [`Fault`]; the connection is of no use then.
pub async fn read(stream: &mut TcpStream, patience: Duration) -> Result<Announced, Fault> {
    timeout(patience, read_patiently(stream))
        .await
        .unwrap_or(Err(Fault::Late))
}

async fn read_patiently(stream: &mut TcpStream) -> Result<Announced, Fault> {
    // Room for what nearly all send; more is made once a header says that it needs it.
    let mut octets = vec![0; 256];
    let mut have = 0;
    loop {
        let seen = stream.peek(octets.get_mut(have..).unwrap_or_default()).await;
        let seen = match seen {
            Ok(0) if have == 0 => return Err(Fault::Nothing),
            Ok(0) => return Err(Fault::Cut),
            Ok(seen) => seen,
            // So do many balancers end their checks, not to keep the port.
            Err(error) if have == 0 && error.kind() == io::ErrorKind::ConnectionReset => return Err(Fault::Nothing),
            Err(error) => return Err(Fault::Io(error)),
        };
        let length = extent(octets.get(..have + seen).unwrap_or_default())?;
        // As long as the end is not in sight, all that is there is header.
        let taken = length.map_or(seen, |length| seen.min(length.saturating_sub(have)));
        let part = octets.get_mut(have..have + taken).unwrap_or_default();
        stream.read_exact(part).await.map_err(Fault::Io)?;
        have += taken;
        match length {
            Some(length) if have >= length => return parse(octets.get(..length).unwrap_or_default()),
            Some(length) if length > octets.len() => octets.resize(length, 0),
            Some(_) | None => {}
        }
    }
}

/// Whether anything comes behind the header: balancers check by writing one and closing. No answer within `patience`
/// counts as yes.
pub async fn goes_on(stream: &TcpStream, patience: Duration) -> bool {
    match timeout(patience, stream.peek(&mut [0])).await {
        Ok(Ok(seen)) => seen > 0,
        Ok(Err(_)) => false,
        Err(_elapsed) => true,
    }
}

/// The header at the beginning of `octets`, and how long it is; `None` when more must come first.
///
/// # Errors
/// [`Fault`] as soon as it can be told, whatever would follow.
pub fn front(octets: &[u8]) -> Result<Option<(Announced, usize)>, Fault> {
    match extent(octets)?.and_then(|length| octets.get(..length)) {
        Some(header) => Ok(Some((parse(header)?, header.len()))),
        None => Ok(None),
    }
}

/// How long the header is that `octets` begin with, as far as that can be told yet. Of version 1 the whole header is
/// there then.
fn extent(octets: &[u8]) -> Result<Option<usize>, Fault> {
    if begins(octets, SIGNATURE) {
        let &[.., high, low] = octets.get(..V2_FIXED).unwrap_or_default() else {
            return Ok(None);
        };
        let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
        if length > MOST_OCTETS {
            return Err(Fault::TooLong);
        }
        return Ok(Some(length));
    }
    if begins(octets, V1_PREFIX) {
        let line = octets.get(..V1_LONGEST).unwrap_or(octets);
        return match line.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => Ok(Some(end + 2)),
            None if line.len() == V1_LONGEST => Err(Fault::TooLong),
            None => Ok(None),
        };
    }
    Err(Fault::Missing)
}

/// Reads a whole header.
fn parse(header: &[u8]) -> Result<Announced, Fault> {
    let (address, port) = if header.starts_with(SIGNATURE) {
        // Section 2.2: whatever a LOCAL header says besides is to be ignored; the crate would judge it.
        if header.get(SIGNATURE.len()) == Some(&V2_LOCAL) {
            return Ok(Announced::Unnamed);
        }
        let header = v2::Header::try_from(header).map_err(malformed)?;
        match (header.addresses, header.protocol) {
            (v2::Addresses::Unspecified | v2::Addresses::Unix(_), _) | (_, v2::Protocol::Unspecified) => {
                return Ok(Announced::Unnamed);
            }
            (v2::Addresses::IPv4(_) | v2::Addresses::IPv6(_), v2::Protocol::Datagram) => {
                return Err(Fault::Malformed("a connection of datagrams".into()));
            }
            (v2::Addresses::IPv4(pair), v2::Protocol::Stream) => (IpAddr::from(pair.source_address), pair.source_port),
            (v2::Addresses::IPv6(pair), v2::Protocol::Stream) => (IpAddr::from(pair.source_address), pair.source_port),
        }
    } else {
        // Section 2.1: what follows UNKNOWN is to be ignored; the crate would judge it.
        let line = header.strip_prefix(V1_PREFIX).unwrap_or_default();
        if line
            .strip_prefix(b"UNKNOWN")
            .is_some_and(|rest| matches!(rest, [b' ' | b'\r', ..]))
        {
            return Ok(Announced::Unnamed);
        }
        match v1::Header::try_from(header).map_err(malformed)?.addresses {
            v1::Addresses::Unknown => return Ok(Announced::Unnamed),
            v1::Addresses::Tcp4(pair) => (IpAddr::from(pair.source_address), pair.source_port),
            v1::Addresses::Tcp6(pair) => (IpAddr::from(pair.source_address), pair.source_port),
        }
    };
    Ok(Announced::Client(SocketAddr::new(address.to_canonical(), port)))
}

/// Whether `octets` begin with `text`, or `text` with them.
fn begins(octets: &[u8], text: &[u8]) -> bool {
    octets.iter().zip(text).all(|(octet, expected)| octet == expected)
}

fn malformed(fault: impl std::error::Error) -> Fault {
    Fault::Malformed(fault.to_string())
}

/// What version 2 begins with.
const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;
/// Signature, version and command, family and transport, length of the rest.
const V2_FIXED: usize = 16;
/// Version 2, command LOCAL.
const V2_LOCAL: u8 = 0x20;
/// What version 1 begins with.
const V1_PREFIX: &[u8] = b"PROXY ";
/// Longest line of version 1, its end included (section 2.1).
const V1_LONGEST: usize = 107;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    fn v4() -> Vec<u8> {
        second(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 0x85])
    }

    fn v6(address: &str) -> Vec<u8> {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        let octets = address.octets();
        second(0x21, 0x21, &[&octets[..], &octets, &[0x9c, 0x40, 1, 0x85]].concat())
    }

    fn client(text: &str) -> Announced {
        Announced::Client(text.parse().unwrap())
    }

    fn whole(octets: &[u8]) -> Announced {
        let (announced, length) = front(octets).unwrap().unwrap();
        assert_eq!(length, octets.len());
        announced
    }

    fn word(octets: &[u8]) -> &'static str {
        front(octets).unwrap_err().word()
    }

    #[test]
    fn whose_connection_it_is() {
        assert_eq!(whole(&v4()), client("192.0.2.7:40000"));
        assert_eq!(whole(&v6("2001:db8::7")), client("[2001:db8::7]:40000"));
        assert_eq!(
            whole(&v6("::ffff:192.0.2.7")),
            client("192.0.2.7:40000"),
            "one address, one form"
        );
        let tcp4 = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 389\r\n";
        assert_eq!(whole(tcp4), client("192.0.2.7:40000"));
        let longest = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(
            whole(longest),
            client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")
        );
        let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 389\r\n";
        assert_eq!(whole(mapped), client("192.0.2.7:40000"));
        // What balancers add is passed over.
        let mut added = v4();
        added.extend([4, 0, 3, 0, 0, 0]);
        added[15] += 6;
        assert_eq!(whole(&added), client("192.0.2.7:40000"));
    }

    #[test]
    fn connections_of_nobody_in_particular() {
        let unix = second(0x21, 0x31, &[0; 216]);
        for header in [
            second(0x20, 0x00, &[]),
            second(0x20, 0x11, &[1, 2]), // to be ignored
            second(0x20, 0xff, b"whatever"),
            second(0x21, 0x00, &[]),
            second(0x21, 0x00, &[3, 0, 4, 0, 0, 0, 0]),
            unix,
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN whatever a b c d e f g\r\n".to_vec(),
        ] {
            assert_eq!(whole(&header), Announced::Unnamed, "{header:02x?}");
        }
    }

    #[test]
    fn what_is_none_is_refused_as_soon_as_that_is_known() {
        for octets in [
            &b"0"[..],
            b"\x16\x03\x01",
            b"GET ",
            b"proxy TCP4",
            b"PROXY\t",
            b"\r\n\r\n\0\r\nQUIT\r",
        ] {
            assert_eq!(word(octets), "proxy-header-missing", "{octets:02x?}");
        }
        for line in [
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 65536\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 40000 389\r\n",
            "PROXY TCP4 2001:db8::7 10.0.0.1 40000 389\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 40000 389\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 389 1\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 40000 389\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 40000 389\rx\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 40000 389\r\n",
        ] {
            assert_eq!(word(line.as_bytes()), "proxy-header-malformed", "{line}");
        }
        for header in [
            second(0x11, 0x11, &[0; 12]),
            second(0x22, 0x11, &[0; 12]),
            second(0x21, 0x41, &[0; 12]),
            second(0x21, 0x13, &[0; 12]),
            second(0x21, 0x12, &[0; 12]),
            second(0x21, 0x11, &[0; 11]),
            second(0x21, 0x21, &[0; 35]),
            second(0x21, 0x31, &[0; 215]),
        ] {
            assert_eq!(word(&header), "proxy-header-malformed", "{header:02x?}");
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 96]].concat();
        assert_eq!(word(&endless), "proxy-header-too-long");
        assert!(front(&endless[..106]).unwrap().is_none());
        let large = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert_eq!(word(&large), "proxy-header-too-long");
    }

    proptest! {
        /// However the octets come, the same is read of them; and nothing behind the header counts.
        #[test]
        fn pieces_and_what_follows_change_nothing(
            kind in 0..4usize,
            noise in prop::collection::vec(any::<u8>(), 0..300),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let octets = match kind {
                0 => noise,
                1 => [b"PROXY ".as_slice(), &noise].concat(),
                2 => [SIGNATURE, &noise].concat(),
                _ => [v4(), noise].concat(),
            };
            let mut told = None;
            for end in 0..=octets.len() {
                match (front(&octets[..end]), &told) {
                    (Ok(None), None) => prop_assert!(end < MOST_OCTETS),
                    (Ok(Some((announced, length))), None) => {
                        prop_assert!(length == end);
                        told = Some(Ok((announced, length)));
                    }
                    (Err(fault), None) => told = Some(Err(fault.word())),
                    (Ok(found), Some(before)) => prop_assert_eq!(&found.ok_or(""), before),
                    (Err(fault), Some(before)) => prop_assert_eq!(&Err(fault.word()), before),
                }
            }
            if let Some(Ok(found)) = told {
                let longer = [&octets[..found.1], &behind].concat();
                prop_assert_eq!(front(&longer).unwrap(), Some(found));
            }
        }

        #[test]
        fn every_address_is_read_as_it_was_written(address: [u8; 16], wide: bool, port: u16) {
            let source = match wide {
                true => IpAddr::from(address),
                false => IpAddr::from([address[0], address[1], address[2], address[3]]),
            };
            let there = Announced::Client(SocketAddr::new(source.to_canonical(), port));
            let family = if wide { "TCP6" } else { "TCP4" };
            let line = format!("PROXY {family} {source} {source} {port} 389\r\n");
            prop_assert_eq!(whole(line.as_bytes()), there);
        }
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        near.set_nodelay(true).unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn nothing_behind_the_header_is_read() {
        let mut large = second(0x21, 0x11, &[7; 1000]);
        large[16..20].copy_from_slice(&[192, 0, 2, 7]);
        for header in [v4(), large, b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 389\r\n".to_vec()] {
            let (mut near, mut far) = pair().await;
            near.write_all(&[&header[..], b"behind"].concat()).await.unwrap();
            let Announced::Client(client) = read(&mut far, PATIENCE).await.unwrap() else {
                panic!("nobody");
            };
            assert_eq!(client.ip().to_string(), "192.0.2.7");
            drop(near);
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"behind");
        }
    }

    #[tokio::test]
    async fn octet_by_octet() {
        for header in [v4(), b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 389\r\n".to_vec()] {
            let (mut near, mut far) = pair().await;
            let writing = tokio::spawn(async move {
                for octet in header {
                    near.write_all(&[octet]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                near
            });
            assert_eq!(read(&mut far, PATIENCE).await.unwrap(), client("192.0.2.7:40000"));
            writing.await.unwrap();
        }
    }

    #[tokio::test]
    async fn checks_of_balancers() {
        let (near, mut far) = pair().await;
        socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
        drop(near);
        assert_eq!(
            read(&mut far, PATIENCE).await.unwrap_err().word(),
            "proxy-header-nothing"
        );
        for (behind, goes) in [(&b""[..], false), (b"0", true)] {
            let (mut near, mut far) = pair().await;
            near.write_all(&[&second(0x20, 0, &[]), behind].concat()).await.unwrap();
            assert_eq!(read(&mut far, PATIENCE).await.unwrap(), Announced::Unnamed);
            assert!(goes_on(&far, Duration::from_millis(1)).await, "not closed yet");
            drop(near);
            assert_eq!(goes_on(&far, PATIENCE).await, goes);
        }
    }

    #[tokio::test]
    async fn what_does_not_come() {
        let (near, mut far) = pair().await;
        drop(near);
        assert_eq!(
            read(&mut far, PATIENCE).await.unwrap_err().word(),
            "proxy-header-nothing"
        );
        let (mut near, mut far) = pair().await;
        near.write_all(b"PROXY TCP4").await.unwrap();
        let late = read(&mut far, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(late.word(), "proxy-header-late");
        let (mut near, mut far) = pair().await;
        near.write_all(&v4()[..20]).await.unwrap();
        drop(near);
        assert_eq!(read(&mut far, PATIENCE).await.unwrap_err().word(), "proxy-header-cut");
    }
}
