//! Policies of any octets: either whole, so that explaining and deciding agree, or faults with places.

use std::path::Path;

use portcullis::clock::Timestamp;
use portcullis::dictionary::Dictionary;
use portcullis::document::{Faults, Source};
use portcullis::engine::policy::{self, Known, Subject, Who};
use portcullis::engine::{LoginName, Manner, Origin, Protocol, Transport};

/// Reads `data` as a policy file, and asks it about a login.
pub fn policy_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut faults = Faults::default();
    let policy = policy::parse(
        &[Source::new(Path::new("fuzz.toml"), text)],
        Dictionary::shipped(),
        &mut faults,
    );
    let lines = text.matches('\n').count() + 1;
    assert!(
        faults
            .0
            .iter()
            .all(|fault| fault.line <= lines && !fault.message.is_empty())
    );
    if faults.any_errors() {
        return;
    }
    let login = LoginName::parse("ana").expect("a name");
    let origin = Origin {
        protocol: Protocol::Radius,
        service: "vpn".into(),
        client: "vpn".into(),
        directory: "corp".into(),
        source: [192, 0, 2, 1].into(),
        nas_identifier: None,
        calling_station: None,
        called_station: None,
        listener: None,
        application: None,
        transport: Transport::Udp,
        service_account: None,
        manner: Manner::default(),
    };
    let subject = Subject {
        sessions: None,
        known: Known::default(),
        login: &login,
        origin: &origin,
        operation: Default::default(),
        person: Who::Decoy,
        now: Timestamp::from_secs(1_700_000_000),
    };
    let decided = policy.decide(&subject).map(|rule| rule.name.to_string());
    assert_eq!(policy.explain(&subject).decided_by, decided);
}
