//! Raw LDAP messages and a client that sends and reads them as octets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use portcullis::ber::{self, BOOLEAN, ENUMERATED, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use portcullis::ldap::frame::{Head, Sender};

pub(crate) const ANA: &str = "uid=ana,ou=people,dc=example,dc=org";
pub(crate) const BEN: &str = "uid=ben,ou=people,dc=example,dc=org";
pub(crate) const MAY: &str = "uid=may,ou=people,dc=example,dc=org";

pub(crate) const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
pub(crate) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

pub(crate) fn message(id: i32, operation: u8, controls: &[u8], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_with(operation, out, fill);
        if !controls.is_empty() {
            ber::write(0xa0, controls, out);
        }
    });
    out
}

pub(crate) fn bind(id: i32, dn: &str, password: &str) -> Vec<u8> {
    bind_with(id, dn, password, &[])
}

pub(crate) fn bind_with(id: i32, dn: &str, password: &str, controls: &[u8]) -> Vec<u8> {
    message(id, 0x60, controls, |out| {
        ber::write_integer(INTEGER, 3, out);
        ber::write(OCTET_STRING, dn.as_bytes(), out);
        ber::write(0x80, password.as_bytes(), out);
    })
}

/// A bind with a SASL mechanism.
pub(crate) fn sasl(id: i32, mechanism: &str, credentials: Option<&[u8]>) -> Vec<u8> {
    message(id, 0x60, &[], |out| {
        ber::write_integer(INTEGER, 3, out);
        ber::write(OCTET_STRING, b"", out);
        ber::write_with(0xa3, out, |out| {
            ber::write(OCTET_STRING, mechanism.as_bytes(), out);
            if let Some(credentials) = credentials {
                ber::write(OCTET_STRING, credentials, out);
            }
        });
    })
}

/// A bind with SASL PLAIN: `[authzid, authcid, password]`.
pub(crate) fn plain(id: i32, parts: [&str; 3]) -> Vec<u8> {
    sasl(id, "PLAIN", Some(parts.join("\0").as_bytes()))
}

/// `(objectClass=*)`
pub(crate) fn search(id: i32, base: &str, scope: i32) -> Vec<u8> {
    search_with(id, base, scope, &[])
}

pub(crate) fn search_with(id: i32, base: &str, scope: i32, controls: &[u8]) -> Vec<u8> {
    message(id, 0x63, controls, |out| {
        ber::write(OCTET_STRING, base.as_bytes(), out);
        ber::write_integer(ENUMERATED, scope, out);
        ber::write_integer(ENUMERATED, 0, out);
        ber::write_integer(INTEGER, 0, out);
        ber::write_integer(INTEGER, 0, out);
        ber::write(BOOLEAN, &[0], out);
        ber::write(0x87, b"objectClass", out);
        ber::write(SEQUENCE, &[], out);
    })
}

pub(crate) fn extended(id: i32, oid: &str) -> Vec<u8> {
    message(id, 0x77, &[], |out| ber::write(0x80, oid.as_bytes(), out))
}

pub(crate) fn abandon(id: i32, target: i32) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_integer(0x50, target, out);
    });
    out
}

pub(crate) fn modify_description(id: i32, dn: &str, value: &[u8]) -> Vec<u8> {
    message(id, 0x66, &[], |out| {
        ber::write(OCTET_STRING, dn.as_bytes(), out);
        ber::write_with(SEQUENCE, out, |out| {
            ber::write_with(SEQUENCE, out, |out| {
                ber::write_integer(ENUMERATED, 2, out);
                ber::write_with(SEQUENCE, out, |out| {
                    ber::write(OCTET_STRING, b"description", out);
                    ber::write_with(0x31, out, |out| ber::write(OCTET_STRING, value, out));
                });
            });
        });
    })
}

pub(crate) fn control(oid: &str, critical: bool) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write(OCTET_STRING, oid.as_bytes(), out);
        if critical {
            ber::write(BOOLEAN, &[0xff], out);
        }
    });
    out
}

pub(crate) fn control_with_value(oid: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write(OCTET_STRING, oid.as_bytes(), out);
        ber::write(OCTET_STRING, value, out);
    });
    out
}

/// One message from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) id: i32,
    pub(crate) operation: u8,
    pub(crate) octets: Vec<u8>,
}

impl Reply {
    /// resultCode and diagnosticMessage.
    pub(crate) fn result(&self) -> (i32, String) {
        let message = Message::read(&self.octets).unwrap();
        let mut fields = Reader::new(message.operation.content);
        let code = fields.integer(ENUMERATED).unwrap();
        fields.expect(OCTET_STRING).unwrap();
        let text = fields.expect(OCTET_STRING).unwrap();
        (code, String::from_utf8_lossy(text).into_owned())
    }

    pub(crate) fn code(&self) -> i32 {
        self.result().0
    }

    /// The authzId that WhoAmI returned.
    pub(crate) fn identity(&self) -> String {
        let message = Message::read(&self.octets).unwrap();
        let mut fields = Reader::new(message.operation.content);
        let mut identity = String::new();
        while let Ok(field) = fields.element() {
            if field.tag == 0x8b {
                identity = String::from_utf8(field.content.to_vec()).unwrap();
            }
        }
        identity
    }

    pub(crate) fn is_notice_of_disconnection(&self) -> bool {
        let oid = b"1.3.6.1.4.1.1466.20036";
        self.id == 0 && self.operation == 0x78 && self.octets.windows(oid.len()).any(|window| window == oid)
    }
}

/// A client on any stream.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
}

impl Wire<TcpStream> {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }

    pub(crate) fn bound(address: SocketAddr, dn: &str, password: &str) -> Self {
        let mut wire = Self::connect(address);
        assert_eq!(wire.ask(&bind(1, dn, password)).code(), 0, "binding as {dn}");
        wire
    }
}

impl<S: Read + Write> Wire<S> {
    pub(crate) fn on(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next message; `None` when the other side has closed.
    pub(crate) fn next(&mut self) -> Option<Reply> {
        self.next_or_silence().expect("no answer within the time")
    }

    /// The same; an error when nothing came within the read time-out.
    pub(crate) fn next_or_silence(&mut self) -> Result<Option<Reply>, ()> {
        use std::io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        loop {
            if let Some(head) = Head::read(&self.buffer, usize::MAX, Sender::Server).unwrap()
                && self.buffer.len() >= head.total
            {
                return Ok(Some(Reply {
                    id: head.id,
                    operation: head.operation,
                    octets: self.buffer.drain(..head.total).collect(),
                }));
            }
            let mut chunk = vec![0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(fault) if [ConnectionReset, UnexpectedEof].contains(&fault.kind()) => return Ok(None),
                Err(fault) if [WouldBlock, TimedOut].contains(&fault.kind()) => return Err(()),
                Err(fault) => panic!("no answer: {fault}"),
            }
        }
    }

    /// The next message, which must come.
    pub(crate) fn expect(&mut self) -> Reply {
        self.next().expect("an answer before the connection is closed")
    }

    /// Sends a message and returns the next one.
    pub(crate) fn ask(&mut self, octets: &[u8]) -> Reply {
        self.send(octets);
        self.expect()
    }

    /// Sends a message and returns everything up to the message that ends the operation.
    pub(crate) fn ask_all(&mut self, octets: &[u8]) -> Vec<Reply> {
        self.send(octets);
        let mut replies = Vec::new();
        loop {
            let reply = self.expect();
            let last = !matches!(reply.operation, 0x64 | 0x73 | 0x79);
            replies.push(reply);
            if last {
                return replies;
            }
        }
    }

    pub(crate) fn who_am_i(&mut self, id: i32) -> Reply {
        self.ask(&extended(id, WHO_AM_I))
    }

    /// Asserts that the other side says goodbye with `code` and closes.
    pub(crate) fn expect_goodbye(&mut self, code: i32) {
        let notice = self.expect();
        assert!(notice.is_notice_of_disconnection(), "{notice:?}");
        assert_eq!(notice.code(), code);
        assert_eq!(self.next(), None);
    }
}
