//! What comes first on a connection from a load balancer.

use portcullis::proxy_protocol::{Announced, MOST_OCTETS, front};

/// However much of it has come, the same is read; what is asked for is bounded; addresses have one form.
pub fn proxy_protocol(data: &[u8]) {
    match front(data) {
        Ok(Some((announced, length))) => {
            assert!(length <= data.len() && length <= MOST_OCTETS);
            let header = data.get(..length).expect("no longer than all");
            assert_eq!(front(header).expect("the same header"), Some((announced, length)));
            for end in [0, length / 2, length - 1] {
                let part = data.get(..end).expect("shorter than all");
                assert_eq!(front(part).expect("no fault yet"), None);
            }
            if let Announced::Client(client) = announced {
                assert_eq!(client.ip(), client.ip().to_canonical());
            }
        }
        Ok(None) => assert!(data.len() < MOST_OCTETS),
        Err(_) => {}
    }
}
