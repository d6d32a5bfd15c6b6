//! Octets of a connection, cut into packets by their Length field (RFC 6613 section 2.6). No I/O.

use crate::radius::packet::{HEADER_LEN, MAX_LEN};

/// A Length field outside 20 to 4096: where the next packet begins cannot be known (RFC 6613 section 2.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Length field is {0}, not between 20 and 4096")]
pub struct BadLength(pub u16);

/// What has been received and not been handled yet: never more than two packets of the largest size.
#[derive(Debug)]
pub struct Frames {
    buffer: Box<[u8]>,
    /// Where what is not handled yet begins and ends.
    start: usize,
    end: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            buffer: vec![0; CAPACITY].into(),
            start: 0,
            end: 0,
        }
    }
}

/// Room for a packet of the largest size behind the beginning of another.
const CAPACITY: usize = 2 * MAX_LEN;

impl Frames {
    /// Room to read into; then [`Frames::filled`] says how much was. Never empty once [`Frames::packet`]
    /// has given `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Takes over the first `octets` octets of the room.
    pub fn filled(&mut self, octets: usize) {
        self.end = self.buffer.len().min(self.end + octets);
    }

    /// The next packet, exactly as long as its Length field says; `None` until all of it is there.
    ///
    /// # Errors
    /// [`BadLength`], each time from then on: nothing that follows can be read.
    pub fn packet(&mut self) -> Result<Option<&[u8]>, BadLength> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(&[_, _, high, low]) = waiting.first_chunk::<4>() else {
            return Ok(None);
        };
        let field = u16::from_be_bytes([high, low]);
        let length = usize::from(field);
        if !(HEADER_LEN..=MAX_LEN).contains(&length) {
            return Err(BadLength(field));
        }
        let Some(packet) = waiting.get(..length) else {
            return Ok(None);
        };
        self.start += length;
        Ok(Some(packet))
    }

    /// Whether there are octets that were not handled: the beginning of a packet, once
    /// [`Frames::packet`] has given `None`.
    pub const fn is_partial(&self) -> bool {
        self.start < self.end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(length: u16, fill: u8) -> Vec<u8> {
        let mut octets = vec![fill; usize::from(length)];
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    /// Everything that comes out of `octets` when at most `step` of them come at a time.
    fn cut(octets: &[u8], step: usize) -> (Vec<Vec<u8>>, Result<bool, BadLength>) {
        let (mut frames, mut packets, mut rest) = (Frames::default(), Vec::new(), octets);
        while !rest.is_empty() {
            let space = frames.space();
            assert!(!space.is_empty(), "there is always room");
            let taken = rest.len().min(step).min(space.len());
            space[..taken].copy_from_slice(&rest[..taken]);
            frames.filled(taken);
            rest = &rest[taken..];
            loop {
                match frames.packet() {
                    Ok(Some(packet)) => packets.push(packet.to_vec()),
                    Ok(None) => break,
                    Err(bad) => return (packets, Err(bad)),
                }
            }
        }
        (packets, Ok(frames.is_partial()))
    }

    #[test]
    fn packets_come_out_whole_however_they_came_in() {
        let sent = [packet(20, 1), packet(4096, 2), packet(21, 3), packet(4096, 4)];
        for step in [1, 3, 19, 4095, 4096, 4097, 100_000] {
            assert_eq!(cut(&sent.concat(), step), (sent.to_vec(), Ok(false)), "{step}");
        }
        let (packets, rest) = cut(&sent.concat()[..4130], 7);
        assert_eq!((packets.len(), rest), (2, Ok(true)));
    }

    #[test]
    fn a_length_that_no_packet_has_ends_it() {
        for length in [0, 3, 19, 4097, 65_535] {
            let octets = [packet(20, 1), vec![1, 1, 0, 0]].concat();
            let mut octets = octets;
            octets[22..24].copy_from_slice(&u16::to_be_bytes(length));
            assert_eq!(cut(&octets, 5), (vec![packet(20, 1)], Err(BadLength(length))));
        }
    }

    proptest! {
        #[test]
        fn how_octets_arrive_does_not_matter(octets in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            prop_assert_eq!(cut(&octets, step), cut(&octets, 1000));
        }
    }
}
