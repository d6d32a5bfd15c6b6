//! Octets without a zero among them (consistent overhead byte stuffing), for RADIUS attributes that clients bring
//! back: some keep them as text, and bring back what stands before the first zero. Costs one octet in 254.

/// `octets`, of which there is at least one, stuffed.
pub(super) fn stuff(octets: &[u8]) -> Vec<u8> {
    let mut stuffed = vec![0; cobs::max_encoding_length(octets.len())];
    let length = cobs::encode(octets, &mut stuffed);
    stuffed.truncate(length);
    stuffed
}

/// What [`stuff`] was given; `None` for what it cannot have made, and for more than an attribute holds
/// (RFC 2865 section 5).
pub(super) fn unstuff(stuffed: &[u8]) -> Option<Vec<u8>> {
    const MOST: usize = 253;
    if stuffed.len() > MOST {
        return None;
    }
    let mut octets = vec![0; stuffed.len()];
    let length = cobs::decode(stuffed, &mut octets).ok()?;
    octets.truncate(length);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn comes_back_without_a_zero_on_the_way(octets in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 1..252)) {
            let stuffed = stuff(&octets);
            prop_assert!(!stuffed.contains(&0));
            prop_assert_eq!(unstuff(&stuffed), Some(octets));
        }

        #[test]
        fn anything_may_come(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = unstuff(&octets);
        }
    }
}
