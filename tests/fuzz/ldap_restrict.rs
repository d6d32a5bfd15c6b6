//! What a restricted listener makes of requests and answers.

use std::sync::LazyLock;

use portcullis::ber::Message;
use portcullis::dn::Dn;
use portcullis::ldap::frame::{Front, Head, Sender, front};
use portcullis::ldap::restrict::{Gate, Restriction, Ruling};

/// Messages of a client's; what goes on in place of one is a message with the same id, which passes as it is.
pub fn ldap_restrict(data: &[u8]) {
    let mut rest = data;
    while let Ok(Front::Whole(head)) = front(rest, CAPACITY, CAPACITY, Sender::Client) {
        let (frame, after) = rest.split_at(head.total);
        rest = after;
        match gate().request(&head, frame) {
            Ruling::Instead(octets) => {
                let again = Head::read(&octets, usize::MAX, Sender::Client)
                    .expect("we write messages")
                    .expect("whole ones");
                assert_eq!(
                    (again.id, again.operation, again.total),
                    (head.id, head.operation, octets.len())
                );
                assert_eq!(gate().request(&again, &octets), Ruling::Pass);
            }
            Ruling::Refuse(answer) => assert_eq!(answer.id, head.id),
            Ruling::Pass | Ruling::Drop => {}
        }
        answers(&head, frame);
    }
    let _ = Dn::parse(data).map(|dn| assert!(dn.is_within(&dn)));
}

/// The same octets as a server's: whatever goes out is a message, and shows nothing hidden when it is an entry.
fn answers(head: &Head, frame: &[u8]) {
    let mut out = Vec::new();
    gate().answer(head, frame, &mut out);
    if out.is_empty() || out == frame {
        return;
    }
    let shown = Message::read(&out).expect("we write messages");
    assert_eq!(shown.id, head.id);
    assert!(out.len() < frame.len() + 8);
    let read = Head::read(&out, usize::MAX, Sender::Server).expect("we write messages");
    let head = read.expect("whole ones");
    let mut again = Vec::new();
    gate().answer(&head, &out, &mut again);
    assert_eq!(again, out, "nothing is left to hide");
}

fn gate() -> Gate {
    Gate::new(LazyLock::force(&RESTRICTION).clone())
}

const CAPACITY: usize = 64 * 1024;

static RESTRICTION: LazyLock<std::sync::Arc<Restriction>> = LazyLock::new(|| {
    let table = "bases = [\"ou=people,dc=example,dc=org\"]\nhide_attributes = [\"userPassword\", \"mail\"]\n\
                 max_entries = 50\ntime_limit = \"10s\"\n";
    Restriction::new(&toml::from_str(table).expect("a table")).expect("that restricts something")
});
