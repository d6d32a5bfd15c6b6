//! The RADIUS packet in a captured frame: Ethernet, Linux cooked or bare IP, then UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A captured datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it was sent to.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why a captured IP packet holds no whole datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureFault {
    /// The capture ends before the packet does.
    #[error("the capture holds {present} of the IP packet's {length} octets; capture whole packets (tcpdump -s 0)")]
    CutOff {
        /// Octets that the headers announce.
        length: usize,
        /// Octets that are there.
        present: usize,
    },
    /// One of several fragments.
    #[error("this is a fragment of a larger datagram; capture where it is whole")]
    Fragment,
    /// Another protocol than UDP.
    #[error("the IP packet holds protocol {0}, not UDP (17); only UDP is taken apart, give the RADIUS packet itself")]
    NotUdp(u8),
    /// The lengths in the headers contradict each other.
    #[error("the lengths in the IP and UDP headers contradict each other")]
    Lengths,
}

/// The datagram in a frame. `None` when the octets are no frame but, presumably, the RADIUS packet itself:
/// no packet code in use begins like an IP packet.
pub fn find(octets: &[u8]) -> Option<Result<Datagram<'_>, CaptureFault>> {
    if let Some(found) = internet(octets) {
        return Some(found);
    }
    // Ethernet, Ethernet with one VLAN tag, Linux cooked, Linux cooked version 2: where the type of the
    // payload stands, and where the payload begins.
    [(12, 14), (16, 18), (14, 16), (0, 20)]
        .into_iter()
        .find_map(|(kind, start)| {
            let kind = pair(octets, kind)?;
            let packet = octets.get(start..)?;
            let version = packet.first()? >> 4;
            let whole = matches!((kind, version), (IPV4, 4) | (IPV6, 6));
            whole.then(|| internet(packet)).flatten()
        })
}

/// EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
const IPV6: u16 = 0x86dd;
/// Protocol number of UDP.
const UDP: u8 = 17;

fn internet(packet: &[u8]) -> Option<Result<Datagram<'_>, CaptureFault>> {
    let first = *packet.first()?;
    match first >> 4 {
        4 if first & 15 >= 5 => Some(version_4(packet, usize::from(first & 15) * 4)),
        6 => Some(version_6(packet)),
        _ => None,
    }
}

/// RFC 791 section 3.1.
fn version_4(packet: &[u8], header: usize) -> Result<Datagram<'_>, CaptureFault> {
    let whole = whole(packet, pair(packet, 2).map(usize::from).unwrap_or(header))?;
    // More fragments, or not the first.
    if pair(whole, 6).ok_or(CaptureFault::Lengths)? & 0x3fff != 0 {
        return Err(CaptureFault::Fragment);
    }
    let address = |at: usize| -> Option<IpAddr> { Some(Ipv4Addr::from(*whole.get(at..)?.first_chunk::<4>()?).into()) };
    let (Some(source), Some(destination), Some(&protocol)) = (address(12), address(16), whole.get(9)) else {
        return Err(CaptureFault::Lengths);
    };
    transport(protocol, whole.get(header..).unwrap_or_default(), source, destination)
}

/// RFC 8200 section 3.
fn version_6(packet: &[u8]) -> Result<Datagram<'_>, CaptureFault> {
    let payload = pair(packet, 4).map(usize::from).ok_or(CaptureFault::Lengths)?;
    let whole = whole(packet, 40 + payload)?;
    let address = |at: usize| -> Option<IpAddr> { Some(Ipv6Addr::from(*whole.get(at..)?.first_chunk::<16>()?).into()) };
    let (Some(source), Some(destination), Some(&first)) = (address(8), address(24), whole.get(6)) else {
        return Err(CaptureFault::Lengths);
    };
    let mut next = first;
    let mut rest = whole.get(40..).unwrap_or_default();
    loop {
        match next {
            // Hop-by-hop options, routing, destination options: next header, length in units of 8.
            0 | 43 | 60 => {
                let &[following, length] = rest.first_chunk::<2>().ok_or(CaptureFault::Lengths)?;
                rest = rest.get((usize::from(length) + 1) * 8..).ok_or(CaptureFault::Lengths)?;
                next = following;
            }
            44 => return Err(CaptureFault::Fragment),
            protocol => return transport(protocol, rest, source, destination),
        }
    }
}

fn whole(packet: &[u8], length: usize) -> Result<&[u8], CaptureFault> {
    packet.get(..length).ok_or(CaptureFault::CutOff {
        length,
        present: packet.len(),
    })
}

/// RFC 768.
fn transport(protocol: u8, segment: &[u8], source: IpAddr, destination: IpAddr) -> Result<Datagram<'_>, CaptureFault> {
    if protocol != UDP {
        return Err(CaptureFault::NotUdp(protocol));
    }
    let (Some(from), Some(to), Some(length)) = (pair(segment, 0), pair(segment, 2), pair(segment, 4)) else {
        return Err(CaptureFault::Lengths);
    };
    let payload = segment.get(8..usize::from(length)).ok_or(CaptureFault::Lengths)?;
    Ok(Datagram {
        source: (source, from).into(),
        destination: (destination, to).into(),
        payload,
    })
}

fn pair(octets: &[u8], at: usize) -> Option<u16> {
    octets
        .get(at..)?
        .first_chunk::<2>()
        .map(|pair| u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: &[u8] = b"\x01\x2a\x00\x14................";

    fn udp() -> Vec<u8> {
        let length = u8::try_from(PAYLOAD.len() + 8).unwrap();
        [&[0x10, 0, 0x07, 0x14, 0, length, 0, 0][..], PAYLOAD].concat()
    }

    fn v4() -> Vec<u8> {
        let length = u8::try_from(PAYLOAD.len() + 28).unwrap();
        let head = [
            0x45, 0, 0, length, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        [&head[..], &udp()].concat()
    }

    /// With a hop-by-hop header of eight octets.
    fn v6() -> Vec<u8> {
        let length = u8::try_from(PAYLOAD.len() + 16).unwrap();
        let mut head = vec![0x60, 0, 0, 0, 0, length, 0, 64];
        head.extend([0; 15]);
        head.push(1);
        head.extend([0; 15]);
        head.push(2);
        head.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        [head, udp()].concat()
    }

    #[test]
    fn every_link_layer() {
        for (head, packet) in [
            (&[][..], v4()),
            (&[], v6()),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], v4()),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd], v6()),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 5, 8, 0], v4()),
            (&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], v4()),
            (
                &[0x86, 0xdd, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0],
                v6(),
            ),
        ] {
            let mut frame = [head, &packet].concat();
            // Ethernet pads short frames.
            frame.extend([0; 6]);
            let datagram = find(&frame).unwrap().unwrap();
            assert_eq!(datagram.payload, PAYLOAD);
            assert_eq!((datagram.source.port(), datagram.destination.port()), (4096, 1812));
        }
        let found = find(&v4()).map(|found| found.map(|datagram| datagram.destination));
        assert_eq!(found, Some(Ok("192.0.2.2:1812".parse().unwrap())));
    }

    #[test]
    fn a_packet_by_itself_is_no_frame() {
        assert_eq!(find(PAYLOAD), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn incomplete_captures_say_so() {
        let cut = &v4()[..40];
        assert_eq!(
            find(cut),
            Some(Err(CaptureFault::CutOff {
                length: 48,
                present: 40
            }))
        );
        let mut fragment = v4();
        fragment[6] = 0x20;
        assert_eq!(find(&fragment), Some(Err(CaptureFault::Fragment)));
        let mut tcp = v4();
        tcp[9] = 6;
        assert_eq!(find(&tcp), Some(Err(CaptureFault::NotUdp(6))));
        let mut long = v4();
        long[25] = 200;
        assert_eq!(find(&long), Some(Err(CaptureFault::Lengths)));
    }

    proptest! {
        #[test]
        fn no_frame_is_too_odd(mut octets in prop::collection::vec(any::<u8>(), 0..120), first in prop::sample::select(vec![0u8, 0x45, 0x4f, 0x60])) {
            if let Some(place) = octets.first_mut() {
                *place = first;
            }
            let _ = find(&octets);
        }
    }
}
