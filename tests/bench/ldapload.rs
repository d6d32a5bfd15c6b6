//! LDAP load: simple binds and searches of many users over many connections. Prints one JSON object.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a tool that meets something unexpected should end there; sizes are of its own making"
)]

mod common;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use data_encoding::HEXLOWER_PERMISSIVE;
use portcullis::clock;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use common::{Random, Span, Tally, Users, fill, fresh_step, totp};

/// LDAP load generator.
#[derive(Clone, Parser)]
struct Options {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:389")]
    addr: String,
    /// TLS from the first octet, with this PEM file of authorities.
    #[arg(long)]
    ldaps: Option<PathBuf>,
    /// What to do again and again.
    #[arg(long, value_enum, default_value_t = Mode::Bind)]
    mode: Mode,
    /// Connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Threads, each with its share of the connections.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Searches in flight on each connection.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// First user.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Last user.
    #[arg(long, default_value_t = 10_000)]
    last: u64,
    /// Name to bind with; `{}` is the user's number.
    #[arg(long, default_value = "uid=user{},ou=people,dc=example,dc=org")]
    dn: String,
    /// Password to bind with; `{}` is the user's number.
    #[arg(long, default_value = "pw{}")]
    password: String,
    /// Every user in turn, this often: each time with the code of a later time step, so that every code
    /// is fresh. Ends when all have had their turns; the first tenth of the binds is the warm-up.
    #[arg(long)]
    turns: Option<u64>,
    /// Append a comma and the TOTP of this key, in hexadecimal, to the password.
    #[arg(long)]
    append_totp: Option<String>,
    /// Name that searches are done as; nobody when absent.
    #[arg(long)]
    search_dn: Option<String>,
    /// Its password.
    #[arg(long, default_value = "")]
    search_password: String,
    /// Where to search.
    #[arg(long, default_value = "dc=example,dc=org")]
    base: String,
    /// An equality; `{}` is the user's number.
    #[arg(long, default_value = "uid=user{}")]
    filter: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Binds on connections that stay open.
    Bind,
    /// Connect, bind, unbind.
    ConnectBind,
    /// Searches on connections that stay open.
    Search,
    /// A search, then a bind as what was found, each on a connection that stays open.
    SearchBind,
}

fn main() -> ExitCode {
    let options = Arc::new(Options::parse());
    let tls = options.ldaps.as_ref().map(authorities);
    let step = fresh_step(options.turns.is_some());
    let started = clock::monotonic();
    let span = Span::starting_now(options.warm_up, options.seconds);
    let threads: Vec<_> = (0..options.threads)
        .map(|number| {
            let (options, tls) = (options.clone(), tls.clone());
            thread::spawn(move || run_thread(&options, tls.as_ref(), span, step, number))
        })
        .collect();
    let mut tally = Tally::default();
    let mut from = options.turns.map_or(span.from, |_| started);
    for thread in threads {
        let (part, began) = thread.join().unwrap();
        tally.add(part);
        from = from.max(began.unwrap_or(from));
    }
    // With turns, it is measured from the end of the warm-up to the last answer.
    let until = options.turns.map_or(span.to, |_| clock::monotonic());
    let report = tally.report(until.saturating_duration_since(from));
    println!("{report}");
    if report["good"] == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run_thread(
    options: &Arc<Options>,
    tls: Option<&tokio_rustls::TlsConnector>,
    span: Span,
    step: u64,
    number: usize,
) -> (Tally, Option<Instant>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    let connections = options.connections / options.threads;
    let people = Rc::new(RefCell::new(People::new(options, step, number)));
    local.block_on(&runtime, async {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                let worker = Worker {
                    options: options.clone(),
                    tls: tls.cloned(),
                    span,
                    people: Rc::clone(&people),
                    tally: Tally::default(),
                    search: None,
                    bind: None,
                };
                tokio::task::spawn_local(worker.run())
            })
            .collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally.add(worker.await.unwrap());
        }
        (tally, people.borrow().began)
    })
}

/// Whose turn it is, for all connections of a thread.
struct People {
    users: Users,
    key: Option<Vec<u8>>,
    turns: Option<u64>,
    /// The time step that the first turn's codes are for.
    step: u64,
    /// Binds until it counts, where there are turns.
    warm_up: u64,
    /// When it began to count.
    began: Option<Instant>,
}

/// A user, the password with what is appended to it, and whether it counts whatever the time.
struct Turn {
    user: u64,
    password: String,
    counts: bool,
}

impl People {
    fn new(options: &Options, step: u64, number: usize) -> Self {
        let share = (options.last + 1 - options.first) / options.threads as u64;
        let users = match options.turns {
            Some(turns) => {
                let first = options.first + number as u64 * share;
                Users::InTurn {
                    first,
                    next: first,
                    last: first + share - 1,
                    turn: 0,
                    turns,
                }
            }
            None => Users::Random {
                first: options.first,
                count: options.last + 1 - options.first,
                random: Random::new(number as u64),
            },
        };
        let key = |text: &String| {
            HEXLOWER_PERMISSIVE
                .decode(text.as_bytes())
                .expect("a key in hexadecimal")
        };
        Self {
            users,
            key: options.append_totp.as_ref().map(key),
            turns: options.turns,
            step,
            warm_up: options.turns.map_or(0, |turns| turns * share / 10),
            began: None,
        }
    }

    /// `None` when all have had their turns.
    fn next(&mut self, password: &str) -> Option<Turn> {
        let (user, turn) = self.users.next()?;
        let mut password = fill(password, user);
        if let Some(key) = &self.key {
            let step = match self.turns {
                Some(_) => self.step + turn,
                None => clock::now().secs() / 30,
            };
            password.push(',');
            password.push_str(&totp(key, step));
        }
        let counts = self.turns.is_some() && self.warm_up == 0;
        if counts && self.began.is_none() {
            self.began = Some(clock::monotonic());
        }
        self.warm_up = self.warm_up.saturating_sub(1);
        Some(Turn { user, password, counts })
    }
}

fn authorities(file: &PathBuf) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every new connection costs the server a whole handshake.
    config.resumption = Resumption::disabled();
    Arc::new(config).into()
}

/// What goes on on one connection, or on one for searches and one for binds.
struct Worker {
    options: Arc<Options>,
    tls: Option<tokio_rustls::TlsConnector>,
    span: Span,
    people: Rc<RefCell<People>>,
    tally: Tally,
    search: Option<Connection>,
    bind: Option<Connection>,
}

const SUCCESS: u32 = 0;

impl Worker {
    async fn run(mut self) -> Tally {
        if self.options.mode == Mode::Search && self.options.pipeline > 1 {
            if let Err(error) = self.pipelined().await {
                self.tally.wrong(error.to_string());
            }
            return self.tally;
        }
        loop {
            let start = clock::monotonic();
            if self.options.turns.is_none() && start >= self.span.to {
                return self.tally;
            }
            let Some(turn) = self.next() else {
                return self.tally;
            };
            let result = self.once(&turn).await;
            let end = clock::monotonic();
            if turn.counts || self.options.turns.is_none() && self.span.counts(end) {
                match &result {
                    Ok(SUCCESS) => self.tally.good(end - start),
                    Ok(code) => self.tally.wrong(format!("result {code}")),
                    Err(error) => self.tally.wrong(error.to_string()),
                }
            }
            if result.is_err() {
                (self.search, self.bind) = (None, None);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    fn next(&self) -> Option<Turn> {
        self.people.borrow_mut().next(&self.options.password)
    }

    async fn once(&mut self, turn: &Turn) -> io::Result<u32> {
        match self.options.mode {
            Mode::Bind => self.bind_as(turn).await,
            Mode::ConnectBind => {
                let code = self.bind_as(turn).await?;
                if let Some(connection) = self.bind.take() {
                    connection.unbind().await?;
                }
                Ok(code)
            }
            Mode::Search => self.search_for(turn.user).await,
            Mode::SearchBind => match self.search_for(turn.user).await? {
                SUCCESS => self.bind_as(turn).await,
                code => Ok(code),
            },
        }
    }

    async fn bind_as(&mut self, turn: &Turn) -> io::Result<u32> {
        let request = bind(&fill(&self.options.dn, turn.user), &turn.password);
        let mut connection = match self.bind.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let code = connection.ask(&request).await?;
        self.bind = Some(connection);
        Ok(code)
    }

    async fn search_for(&mut self, user: u64) -> io::Result<u32> {
        let mut connection = match self.search.take() {
            Some(connection) => connection,
            None => self.connect_to_search().await?,
        };
        let request = search(&self.options.base, &fill(&self.options.filter, user));
        let code = connection.ask(&request).await?;
        self.search = Some(connection);
        Ok(code)
    }

    async fn pipelined(&mut self) -> io::Result<()> {
        let mut connection = self.connect_to_search().await?;
        let mut sent: HashMap<u32, Instant> = HashMap::new();
        while clock::monotonic() < self.span.to {
            while sent.len() < self.options.pipeline {
                let Some(turn) = self.next() else {
                    return Ok(());
                };
                let request = search(&self.options.base, &fill(&self.options.filter, turn.user));
                let id = connection.send(&request).await?;
                sent.insert(id, clock::monotonic());
            }
            let (id, code) = connection.result().await?;
            let start = sent
                .remove(&id)
                .ok_or_else(|| io::Error::other("a message id that was never sent"))?;
            let end = clock::monotonic();
            if self.span.counts(end) {
                match code {
                    SUCCESS => self.tally.good(end - start),
                    code => self.tally.wrong(format!("result {code}")),
                }
            }
        }
        Ok(())
    }

    async fn connect_to_search(&self) -> io::Result<Connection> {
        let mut connection = self.connect().await?;
        if let Some(dn) = &self.options.search_dn {
            let code = connection.ask(&bind(dn, &self.options.search_password)).await?;
            if code != SUCCESS {
                return Err(io::Error::other(format!("the bind before searching: result {code}")));
            }
        }
        Ok(connection)
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.options.addr).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some(connector) => {
                let host = self.options.addr.rsplit_once(':').map_or("localhost", |(host, _)| host);
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                Box::new(connector.connect(name, stream).await?)
            }
        };
        Ok(Connection {
            stream,
            buffer: Vec::with_capacity(16 << 10),
            read: 0,
            last_id: 0,
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection that writes whole messages and reads what it needs of the answers.
struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    read: usize,
    last_id: u32,
}

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const BIND_REQUEST: u8 = 0x60;
const UNBIND_REQUEST: u8 = 0x42;
const SEARCH_REQUEST: u8 = 0x63;
const SIMPLE: u8 = 0x80;
const EQUALITY: u8 = 0xa3;
/// Entries, references and intermediate responses come before the result.
const BEFORE_RESULT: [u8; 3] = [0x64, 0x73, 0x79];

impl Connection {
    async fn ask(&mut self, request: &[u8]) -> io::Result<u32> {
        let id = self.send(request).await?;
        let (answered, code) = self.result().await?;
        if answered != id {
            return Err(io::Error::other("an answer to another message"));
        }
        Ok(code)
    }

    async fn send(&mut self, request: &[u8]) -> io::Result<u32> {
        // Message ids of three octets, so that all messages are of one length.
        self.last_id = (self.last_id + 1) & 0x3f_ffff;
        let id = (0x40_0000 | self.last_id).to_be_bytes();
        let body = [&[0x02, 3], &id[1..], request].concat();
        self.stream.write_all(&element(SEQUENCE, &body)).await?;
        Ok(0x40_0000 | self.last_id)
    }

    /// Message id and result code of the next message that ends an operation.
    async fn result(&mut self) -> io::Result<(u32, u32)> {
        loop {
            let Some((header, length)) = head(&self.buffer[self.read..]) else {
                self.more().await?;
                continue;
            };
            let start = self.read + header;
            if self.buffer.len() < start + length {
                self.more().await?;
                continue;
            }
            self.read = start + length;
            let message = &self.buffer[start..start + length];
            let (id, rest) = number(message);
            if BEFORE_RESULT.contains(&rest[0]) {
                continue;
            }
            let (header, _) = head(rest).ok_or_else(|| io::Error::other("a truncated answer"))?;
            let (code, _) = number(&rest[header..]);
            return Ok((id, code));
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
        } else if self.read > 64 << 10 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::other("the server closed the connection")),
            _ => Ok(()),
        }
    }

    async fn unbind(mut self) -> io::Result<()> {
        self.send(&[UNBIND_REQUEST, 0]).await?;
        self.stream.shutdown().await
    }
}

fn bind(dn: &str, password: &str) -> Vec<u8> {
    let version = [0x02, 1, 3];
    let body = [
        &version[..],
        &element(OCTETS, dn.as_bytes()),
        &element(SIMPLE, password.as_bytes()),
    ]
    .concat();
    element(BIND_REQUEST, &body)
}

/// Whole subtree, no aliases, two entries at most, no time limit, all attributes.
fn search(base: &str, filter: &str) -> Vec<u8> {
    const SCOPE_AND_LIMITS: [u8; 15] = [0x0a, 1, 2, 0x0a, 1, 0, 0x02, 1, 2, 0x02, 1, 0, 0x01, 1, 0];
    let (attribute, value) = filter.split_once('=').expect("a filter such as uid=ana");
    let equality = [element(OCTETS, attribute.as_bytes()), element(OCTETS, value.as_bytes())].concat();
    let body = [
        &element(OCTETS, base.as_bytes())[..],
        &SCOPE_AND_LIMITS,
        &element(EQUALITY, &equality),
        &element(SEQUENCE, &[]),
    ]
    .concat();
    element(SEARCH_REQUEST, &body)
}

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header, body].concat()
}

/// Octets of an element's header, and of its contents; `None` when more is needed.
fn head(octets: &[u8]) -> Option<(usize, usize)> {
    match *octets.get(1)? {
        short @ 0..0x80 => Some((2, usize::from(short))),
        long => {
            let count = usize::from(long & 0x7f);
            let length = octets.get(2..2 + count)?;
            Some((
                2 + count,
                length.iter().fold(0, |sum, &octet| sum << 8 | usize::from(octet)),
            ))
        }
    }
}

/// A small number and what follows it.
fn number(octets: &[u8]) -> (u32, &[u8]) {
    let length = usize::from(octets[1]);
    let value = octets[2..2 + length]
        .iter()
        .fold(0, |sum, &octet| sum << 8 | u32::from(octet));
    (value, &octets[2 + length..])
}
