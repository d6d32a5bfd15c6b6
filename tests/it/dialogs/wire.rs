//! A RADIUS client that sends what it wants as often as it wants: the same octets again, an old State again.

use std::net::UdpSocket;
use std::time::Duration;

use portcullis::clock;
use portcullis::radius::crypto::{SharedSecret, Signature};
use portcullis::radius::packet::{Packet, Writer};
use portcullis::secret::Secret;

use crate::support::radclient::SECRET;

/// One source port of a client.
pub(crate) struct Wire {
    socket: UdpSocket,
    secret: SharedSecret,
    identifier: u8,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) what: What,
    /// All Reply-Messages.
    pub(crate) text: String,
    pub(crate) state: Option<Vec<u8>>,
    /// Whether what is typed may be shown.
    pub(crate) echo: bool,
    pub(crate) octets: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Accept,
    Reject,
    Challenge,
}

impl Answer {
    /// The same to who reads it: octets differ where State is sealed anew.
    pub(crate) fn reads(&self) -> (What, &str, bool) {
        (self.what, &self.text, self.echo)
    }
}

impl Wire {
    /// From the loopback address of a client to a server's port.
    pub(crate) fn new(client: &str, port: u16) -> Self {
        let socket = UdpSocket::bind((client, 0)).unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            secret: SharedSecret::new(&Secret::new(SECRET)),
            identifier: 0,
        }
    }

    /// A new request, not sent yet.
    pub(crate) fn request(&mut self, user: &str, typed: &str, state: Option<&[u8]>) -> Vec<u8> {
        self.identifier = self.identifier.wrapping_add(1);
        let authenticator = clock::random();
        let hidden = self.secret.hide(&Secret::new(typed), &authenticator).unwrap();
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, ACCESS_REQUEST, self.identifier, &authenticator, true);
        writer.push(USER_NAME, user.as_bytes()).unwrap();
        writer.push(USER_PASSWORD, &hidden).unwrap();
        writer.push(NAS_IDENTIFIER, b"test").unwrap();
        if let Some(state) = state {
            writer.push(STATE, state).unwrap();
        }
        writer.finish_request(&self.secret);
        buffer
    }

    /// Sends a request and takes its answer, which must prove itself.
    pub(crate) fn send(&self, request: &[u8]) -> Answer {
        self.socket.send(request).unwrap();
        self.receive(request)
    }

    /// Whether a request gets no answer before a Status-Server that is sent after the server had time for it.
    pub(crate) fn is_not_answered(&self, request: &[u8]) -> bool {
        self.socket.send(request).unwrap();
        self.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let answer = self.socket.recv(&mut [0; 4096]);
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        answer.is_err()
    }

    fn receive(&self, request: &[u8]) -> Answer {
        let asked = Packet::parse(request).unwrap();
        let mut buffer = vec![0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect("an answer");
            let reply = Packet::parse(&buffer[..length]).unwrap();
            if reply.identifier() != asked.identifier() {
                continue;
            }
            assert!(self.secret.proves_response(&reply, asked.authenticator()));
            let signature = self.secret.reply_signature(&reply, asked.authenticator());
            assert_eq!(signature, Signature::Valid);
            let texts = reply.all(REPLY_MESSAGE).map(String::from_utf8_lossy);
            return Answer {
                what: match reply.code() {
                    2 => What::Accept,
                    3 => What::Reject,
                    11 => What::Challenge,
                    code => panic!("a reply of code {code}"),
                },
                text: texts.collect(),
                state: reply.find(STATE).map(<[u8]>::to_vec),
                echo: reply.find(PROMPT) == Some(&[0, 0, 0, 1]),
                octets: buffer[..length].to_vec(),
            };
        }
    }

    /// Something typed, and its answer.
    pub(crate) fn say(&mut self, user: &str, typed: &str, before: Option<&Answer>) -> Answer {
        let state = before.map(|before| before.state.clone().expect("a State to answer"));
        let request = self.request(user, typed, state.as_deref());
        self.send(&request)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

const ACCESS_REQUEST: u8 = 1;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const REPLY_MESSAGE: u8 = 18;
const STATE: u8 = 24;
const NAS_IDENTIFIER: u8 = 32;
const PROMPT: u8 = 76;
