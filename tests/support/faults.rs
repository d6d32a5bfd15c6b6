//! A proxy between Portcullis and a real directory server that does to the messages what broken servers,
//! networks and attackers do.
//!
//! It takes LDAP apart only as far as lengths, message ids and operations. What does not begin like an LDAP
//! message (TLS) is passed on in the pieces that it comes in, and a piece then counts as a response to
//! whatever is asked.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use portcullis::ber;
use portcullis::ldap::frame::{Head, Sender};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub(crate) const BIND: u8 = 0x60;
pub(crate) const SEARCH: u8 = 0x63;
pub(crate) const MODIFY: u8 = 0x66;
pub(crate) const COMPARE: u8 = 0x6e;

/// What happens to a request or to its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Connections are refused, and those that are open are cut.
    Refuse,
    /// Refused and served by turns, each for so long.
    Flap(Duration),
    /// The request is taken and never heard of again.
    Hang,
    /// The server has done what it was asked, and its response is lost.
    Lost,
    /// The connection is reset in place of the response.
    Reset,
    /// The connection is reset in the middle of the response.
    ResetAmid,
    /// The connection is reset behind the response.
    ResetAfter,
    /// The connection is closed in place of the response.
    Close,
    /// The connection is closed in the middle of the response.
    Cut,
    /// The response has another message id.
    WrongId,
    /// A success for somebody else's bind comes before the response.
    OthersBind,
    /// The response comes twice.
    Duplicate,
    /// Octets that are no LDAP in place of the response.
    Garbage,
    /// The head of a response of two gigabytes, and some of it.
    Endless,
    /// A Notice of Disconnection in place of the response.
    Notice,
    /// Unsolicited notifications without end in place of the response.
    FloodNotices,
    /// Garbage without end in place of the response.
    FloodGarbage,
    /// Entries without end in place of the response.
    FloodEntries,
    /// References without end in place of the response.
    FloodReferences,
    /// The final response comes octet by octet, each after so long.
    Drip(Duration),
}

/// The proxy, until it is dropped.
pub(crate) struct Faults {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mode {
    fault: Option<Fault>,
    /// Requests that it is for; all when absent.
    operation: Option<u8>,
}

struct Shared {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Whether connections are accepted.
    open: watch::Sender<bool>,
    requests: Mutex<HashMap<u8, usize>>,
}

/// How a connection to the client ends.
enum End {
    Fin,
    Rst,
}

impl Faults {
    /// Passes everything on to `server` as it is.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(async { listen((Ipv4Addr::LOCALHOST, 0).into()) });
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            mode: watch::Sender::default(),
            open: watch::Sender::new(true),
            requests: Mutex::default(),
        });
        runtime.spawn(accept(listener, address, Arc::clone(&shared)));
        Self {
            address,
            shared,
            runtime: Some(runtime),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://{}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on this happens to all requests, or to those of one operation.
    pub(crate) fn set(&self, fault: Fault, operation: Option<u8>) {
        self.shared.mode.send_replace(Mode {
            fault: Some(fault),
            operation,
        });
        if fault == Fault::Refuse {
            self.wait_until_open(false);
        }
    }

    /// All is well again. Connections that something had happened to stay as they are.
    pub(crate) fn clear(&self) {
        self.shared.mode.send_replace(Mode::default());
        self.wait_until_open(true);
    }

    /// Requests of an operation that have come so far.
    pub(crate) fn requests(&self, operation: u8) -> usize {
        let requests = self.shared.requests.lock().unwrap();
        requests.get(&operation).copied().unwrap_or_default()
    }

    fn wait_until_open(&self, wanted: bool) {
        let mut open = self.shared.open.subscribe();
        let runtime = self.runtime.as_ref().unwrap();
        let (told, known) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            open.wait_for(|open| *open == wanted).await.unwrap();
            told.send(()).unwrap();
        });
        known.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Within a runtime.
fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(1024).unwrap()
}

/// Accepts connections while the door is open.
async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(listener);
    let mut turn = tokio::time::Instant::now();
    loop {
        let fault = mode.borrow_and_update().fault;
        let open = match fault {
            Some(Fault::Refuse) => false,
            Some(Fault::Flap(span)) if turn.elapsed() >= span => {
                turn = tokio::time::Instant::now();
                listener.is_none()
            }
            Some(Fault::Flap(_)) => listener.is_some(),
            _ => true,
        };
        if !open {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address));
        }
        shared
            .open
            .send_if_modified(|known| std::mem::replace(known, open) != open);
        let until = match fault {
            Some(Fault::Flap(span)) => turn + span,
            _ => turn + Duration::from_secs(3600),
        };
        let next = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(until) => {}
            accepted = next => if let Ok((client, _)) = accepted {
                tokio::spawn(connection(client, Arc::clone(&shared)));
            },
        }
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(shared.server).await else {
        return;
    };
    let mut open = shared.open.subscribe();
    let asked = Mutex::new(HashMap::new());
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = upward(from_client, to_server, &shared, &asked) => end,
            end = downward(from_server, to_client, &shared, &asked) => end,
            _ = open.wait_for(|open| !open) => End::Fin,
        }
    };
    if matches!(end, End::Rst) {
        let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

type Asked = Mutex<HashMap<i32, u8>>;

async fn upward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared, asked: &Asked) -> End {
    let mut buffer = Vec::new();
    while let Some(piece) = next_piece(&mut from, &mut buffer, Sender::Client).await {
        if let Some(head) = piece.head {
            asked.lock().unwrap().insert(head.id, head.operation);
            *shared.requests.lock().unwrap().entry(head.operation).or_default() += 1;
        }
        let operation = piece.head.map(|head| head.operation);
        if shared.fault_for(operation) == Some(Fault::Hang) {
            continue;
        }
        if to.write_all(&piece.octets).await.is_err() {
            break;
        }
    }
    End::Fin
}

async fn downward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared, asked: &Asked) -> End {
    let mut buffer = Vec::new();
    while let Some(piece) = next_piece(&mut from, &mut buffer, Sender::Server).await {
        let operation = piece.head.and_then(|head| asked.lock().unwrap().get(&head.id).copied());
        let end = match shared.fault_for(operation) {
            None => to.write_all(&piece.octets).await.err().map(|_| End::Fin),
            Some(fault) => harm(fault, &piece, &mut to).await,
        };
        if let Some(end) = end {
            return end;
        }
    }
    End::Fin
}

/// Sends a response on as the fault has it; how the connection ends, if it does.
async fn harm(fault: Fault, piece: &Piece, to: &mut WriteHalf<'_>) -> Option<End> {
    let (id, operation) = piece.head.map_or((1, 0x61), |head| (head.id, head.operation));
    let whole = piece.octets.as_slice();
    let half = &whole[..whole.len() / 2];
    let (sent, end): (Vec<u8>, Option<End>) = match fault {
        Fault::Refuse | Fault::Flap(_) | Fault::Hang => (whole.to_vec(), None),
        Fault::Lost => (Vec::new(), None),
        Fault::Reset => (Vec::new(), Some(End::Rst)),
        Fault::ResetAmid => (half.to_vec(), Some(End::Rst)),
        Fault::ResetAfter => (whole.to_vec(), Some(End::Rst)),
        Fault::Close => (Vec::new(), Some(End::Fin)),
        Fault::Cut => (half.to_vec(), Some(End::Fin)),
        Fault::WrongId => (with_id(piece, id + 1000), None),
        Fault::OthersBind => ([result(id + 1000, 0x61), whole.to_vec()].concat(), None),
        Fault::Duplicate => ([whole, whole].concat(), None),
        Fault::Garbage => (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), None),
        Fault::Endless => {
            let mut head = vec![ber::SEQUENCE, 0x84, 0x7f, 0xff, 0xff, 0xff];
            ber::write_integer(ber::INTEGER, id, &mut head);
            head.extend([operation, 0x84, 0x7f, 0xff, 0xff, 0x00]);
            head.resize(100_000, b'x');
            (head, Some(End::Fin))
        }
        Fault::Notice => (notification("1.3.6.1.4.1.1466.20036"), Some(End::Fin)),
        Fault::FloodNotices => return flood(&notification("1.2.3"), to).await,
        Fault::FloodGarbage => return flood(&[0xff; 4096], to).await,
        Fault::FloodEntries => {
            let entry = message(id, 0x64, |out| {
                ber::write(ber::OCTET_STRING, b"cn=one more", out);
                ber::write(ber::SEQUENCE, b"", out);
            });
            return flood(&entry, to).await;
        }
        Fault::FloodReferences => {
            let reference = message(id, 0x73, |out| {
                ber::write(ber::OCTET_STRING, b"ldap://elsewhere", out);
            });
            return flood(&reference, to).await;
        }
        Fault::Drip(span) if operation != 0x64 => {
            for octet in whole {
                if to.write_all(&[*octet]).await.is_err() {
                    return Some(End::Fin);
                }
                tokio::time::sleep(span).await;
            }
            return None;
        }
        Fault::Drip(_) => (whole.to_vec(), None),
    };
    match to.write_all(&sent).await {
        Ok(()) => end,
        Err(_) => Some(End::Fin),
    }
}

async fn flood(octets: &[u8], to: &mut WriteHalf<'_>) -> Option<End> {
    while to.write_all(octets).await.is_ok() {}
    Some(End::Fin)
}

impl Shared {
    /// What is to happen to a request of this operation; unknown ones are of all.
    fn fault_for(&self, operation: Option<u8>) -> Option<Fault> {
        let mode = *self.mode.borrow();
        let concerns = mode.operation.is_none() || operation.is_none() || mode.operation == operation;
        mode.fault.filter(|_| concerns)
    }
}

/// A message, or what came at once of something else.
struct Piece {
    octets: Vec<u8>,
    head: Option<Head>,
}

async fn next_piece(from: &mut ReadHalf<'_>, buffer: &mut Vec<u8>, sender: Sender) -> Option<Piece> {
    loop {
        match Head::read(buffer, usize::MAX, sender) {
            Ok(Some(head)) if buffer.len() >= head.total => {
                let octets = buffer.drain(..head.total).collect();
                return Some(Piece {
                    octets,
                    head: Some(head),
                });
            }
            Ok(_) => {}
            Err(_) => {
                return Some(Piece {
                    octets: std::mem::take(buffer),
                    head: None,
                });
            }
        }
        if from.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The same message with another id.
fn with_id(piece: &Piece, id: i32) -> Vec<u8> {
    let Some(head) = piece.head else {
        return piece.octets.clone();
    };
    let mut out = Vec::new();
    ber::write_with(ber::SEQUENCE, &mut out, |out| {
        ber::write_integer(ber::INTEGER, id, out);
        out.extend_from_slice(&piece.octets[head.offset..head.total]);
    });
    out
}

fn message(id: i32, operation: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(ber::SEQUENCE, &mut out, |out| {
        ber::write_integer(ber::INTEGER, id, out);
        ber::write_with(operation, out, fill);
    });
    out
}

/// An LDAPResult that says success.
fn result(id: i32, operation: u8) -> Vec<u8> {
    message(id, operation, |out| out.extend(b"\x0a\x01\x00\x04\x00\x04\x00"))
}

/// An unsolicited notification (RFC 4511 section 4.4) with the code unavailable.
fn notification(name: &str) -> Vec<u8> {
    message(0, 0x78, |out| {
        out.extend(b"\x0a\x01\x34\x04\x00\x04\x00");
        ber::write(0x8a, name.as_bytes(), out);
    })
}
