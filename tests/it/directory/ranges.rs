//! Attributes that a server sends in parts, as Active Directory does, played by a listener of our own.

use std::sync::Arc;

use portcullis::ber;
use portcullis::directory::Directory;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::engine::Lookup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::name;

/// What the server does when it is asked for more.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// Sends it, `.0` values in all.
    Sent(usize),
    /// Sends it, one value less each time than it says.
    Claimed(usize),
    Refused,
    Missing,
    /// Sends the first part again.
    Again,
    Closed,
}

/// Values in one part.
const PART: usize = 1500;

async fn serve(rest: Rest) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, rest));
        }
    });
    url
}

async fn answer(mut stream: TcpStream, rest: Rest) {
    let mut input = [0; 4096];
    loop {
        let Ok(length @ 1..) = stream.read(&mut input).await else {
            return;
        };
        let request = ber::Message::read(&input[..length]).unwrap();
        let text = String::from_utf8_lossy(request.operation.content).into_owned();
        let from = text.split_once(";range=").map(|(_, range)| {
            assert!(text.contains("uid=ana,dc=x"), "asked for at the entry itself");
            range.split('-').next().unwrap().parse::<usize>().unwrap()
        });
        let mut out = Vec::new();
        match (from, rest) {
            (None, Rest::Sent(all) | Rest::Claimed(all)) => part(request.id, 0, PART, all, &mut out),
            (None, _) => part(request.id, 0, PART, 2 * PART, &mut out),
            (Some(from), Rest::Sent(all)) => part(request.id, from, PART, all, &mut out),
            (Some(from), Rest::Claimed(all)) => part(request.id, from, PART - 1, all, &mut out),
            (Some(_), Rest::Again) => part(request.id, 0, PART, 2 * PART, &mut out),
            (Some(_), Rest::Refused | Rest::Missing) => {}
            (Some(_), Rest::Closed) => return,
        }
        let code = u8::from(matches!((from, rest), (Some(_), Rest::Refused)));
        message(request.id, 0x65, &mut out, |out| {
            ber::write(ber::ENUMERATED, &[code], out);
            ber::write(ber::OCTET_STRING, b"", out);
            ber::write(ber::OCTET_STRING, b"", out);
        });
        stream.write_all(&out).await.unwrap();
    }
}

/// An entry with `size` groups at most, from the one with number `from` on, of `all`.
fn part(id: i32, from: usize, size: usize, all: usize, out: &mut Vec<u8>) {
    let last = all.min(from + size);
    let range = match last {
        last if last == all => format!("memberOf;range={from}-*"),
        // What it says does not depend on what it sends.
        _ => format!("memberOf;range={from}-{}", from + PART - 1),
    };
    message(id, 0x64, out, |out| {
        ber::write(ber::OCTET_STRING, b"uid=ana,dc=x", out);
        ber::write_with(ber::SEQUENCE, out, |out| {
            let mut attribute = |name: &str, values: &mut dyn Iterator<Item = String>| {
                ber::write_with(ber::SEQUENCE, out, |out| {
                    ber::write(ber::OCTET_STRING, name.as_bytes(), out);
                    ber::write_with(0x31, out, |out| {
                        values.for_each(|value| ber::write(ber::OCTET_STRING, value.as_bytes(), out));
                    });
                });
            };
            attribute("entryUUID", &mut ["1".to_owned()].into_iter());
            attribute("uid", &mut ["ana".to_owned()].into_iter());
            // Active Directory sends the bare name as well, without values.
            attribute("memberOf", &mut std::iter::empty());
            attribute(&range, &mut (from..last).map(|number| format!("cn=g{number},dc=x")));
        });
    });
}

fn message(id: i32, tag: u8, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    ber::write_with(ber::SEQUENCE, out, |out| {
        ber::write_integer(ber::INTEGER, id, out);
        ber::write_with(tag, out, content);
    });
}

async fn look_up(rest: Rest) -> Lookup {
    let url = serve(rest).await;
    let text = format!("name = \"corp\"\nurls = [{url:?}]\nbase_dn = \"dc=x\"\nallow_plaintext = true\n");
    let directory: Arc<LdapDirectory> = LdapDirectory::new(&toml::from_str(&text).unwrap()).unwrap();
    directory.look_up(&name("ana")).await
}

#[tokio::test]
async fn all_groups_are_read() {
    for all in [1, PART, PART + 1, 2 * PART, 4000, 10_000] {
        for rest in [Rest::Sent(all), Rest::Claimed(all)] {
            let lookup = look_up(rest).await;
            let Lookup::Found(ana) = lookup else {
                panic!("{rest:?}: {lookup:?}")
            };
            let expected: Vec<_> = (0..all).map(|number| format!("cn=g{number},dc=x")).collect();
            assert!(ana.groups == expected, "{rest:?}: {} groups", ana.groups.len());
        }
    }
}

#[tokio::test]
async fn some_of_the_groups_are_an_outage() {
    for (rest, words) in [
        (Rest::Refused, "operationsError (1)"),
        (Rest::Missing, "did not send the rest of `memberOf;range=0-1499`"),
        (Rest::Again, "did not send the rest"),
        (Rest::Closed, "closed the connection"),
        (Rest::Sent(15_000), "has too many values"),
    ] {
        let lookup = look_up(rest).await;
        let Lookup::Unavailable(why) = &lookup else {
            panic!("{rest:?}: {lookup:?}")
        };
        assert!(why.contains(words), "{rest:?}: {why}");
    }
}
