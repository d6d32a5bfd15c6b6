//! RADIUS load: PAP logins or accounting records, over UDP or TLS, many in flight over several source ports
//! or connections.
//!
//! Every Access-Request carries a Message-Authenticator, every reply is verified, challenges are answered,
//! what is lost is sent again octet for octet. Prints one JSON object.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a tool that meets something unexpected should end there; sizes are of its own making"
)]

mod common;
mod datagrams;
mod link;
mod packet;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use data_encoding::HEXLOWER_PERMISSIVE;
use portcullis::clock;

use common::{Random, Span, Tally, Users, fill, fresh_step, totp};
use link::Link;
use packet::Codec;
use streams::Identity;

/// RADIUS load generator.
#[derive(Clone, Parser)]
struct Options {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:1812")]
    addr: SocketAddr,
    /// Address to send from: servers tell their clients apart by it.
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// Shared secret.
    #[arg(long, default_value = "testing123")]
    secret: String,
    /// Requests in flight.
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// Source ports or connections; each has 256 identifiers.
    #[arg(long, default_value_t = 4)]
    ports: usize,
    /// Threads, each with its share of window and ports.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// User-Name; `{}` is the user's number.
    #[arg(long, default_value = "user{}")]
    user: String,
    /// Password; `{}` is the user's number.
    #[arg(long, default_value = "pw{}")]
    password: String,
    /// First user.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Last user.
    #[arg(long, default_value_t = 10_000)]
    last: u64,
    /// Every user in turn, this often: each time with the code of a later time step, so that every code
    /// is fresh. Ends when all have had their turns; the first tenth of the logins is the warm-up.
    #[arg(long)]
    turns: Option<u64>,
    /// Answer challenges with the TOTP of this key, in hexadecimal.
    #[arg(long)]
    totp: Option<String>,
    /// Say that the password is forgotten (`?recover`), and this to whatever is asked: a refusal is what counts.
    #[arg(long, conflicts_with_all = ["turns", "totp", "append_totp", "accounting"])]
    recover: Option<String>,
    /// Append a comma and the TOTP of this key to the password.
    #[arg(long, conflicts_with = "totp")]
    append_totp: Option<String>,
    /// Sessions that begin and end instead of logins: every Start and every Stop counts.
    #[arg(long, conflicts_with_all = ["turns", "totp", "append_totp"])]
    accounting: bool,
    #[command(flatten)]
    tls: Identity,
    /// A reply without Message-Authenticator as its first attribute is wrong.
    #[arg(long)]
    strict: bool,
    /// Milliseconds before a request is sent again, twice.
    #[arg(long, default_value_t = 2000)]
    patience: u64,
}

/// One identifier of one source port.
struct Slot {
    busy: bool,
    packet: Vec<u8>,
    began: Instant,
    sent: Instant,
    tries: u8,
    user: u64,
    turn: u64,
    /// It answers a challenge, or ends a session.
    second: bool,
    session: String,
}

struct Load {
    options: Options,
    codec: Codec,
    key: Option<Vec<u8>>,
    appended: Option<Vec<u8>>,
    users: Users,
    /// The time step that the first turn's codes are for.
    step: u64,
    random: Random,
    tally: Tally,
    span: Span,
    /// Tells this run's sessions from those of others.
    run: u32,
    began: u64,
    warm_up_logins: u64,
    in_flight: usize,
}

const SEND_AGAIN: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    let threads = options.threads.max(1);
    assert!(options.window <= options.ports * 256, "256 identifiers a port");
    let step = fresh_step(options.turns.is_some());
    let share = (options.last - options.first + 1) / threads as u64;
    let started = clock::monotonic();
    let span = Span::starting_now(options.warm_up, options.seconds);
    let loads: Vec<_> = (0..threads as u64)
        .map(|number| {
            let options = options.clone();
            let first = options.first + number * share;
            thread::spawn(move || Load::new(options, first, first + share - 1, step, span, number).run())
        })
        .collect();
    let mut tally = Tally::default();
    let mut from = span.from;
    if options.turns.is_some() {
        from = started;
    }
    for load in loads {
        let (part, began) = load.join().unwrap();
        tally.add(part);
        from = from.max(began);
    }
    // With turns, it is measured from the end of the warm-up to the last reply.
    let until = if options.turns.is_some() {
        clock::monotonic()
    } else {
        span.to
    };
    let report = tally.report(until.saturating_duration_since(from));
    println!("{report}");
    if report["good"] == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Load {
    fn new(options: Options, first: u64, last: u64, step: u64, span: Span, salt: u64) -> Self {
        let mut random = Random::new(salt);
        let users = match options.turns {
            Some(turns) => Users::InTurn {
                first,
                next: first,
                last,
                turn: 0,
                turns,
            },
            None => Users::Random {
                first,
                count: last + 1 - first,
                random: Random::new(random.next()),
            },
        };
        let logins = options.turns.unwrap_or(0) * (last + 1 - first);
        let hex = |text: &Option<String>| {
            let text = text.as_ref()?;
            Some(
                HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .expect("a key in hexadecimal"),
            )
        };
        Self {
            codec: Codec::new(options.secret.as_bytes(), options.strict),
            key: hex(&options.totp),
            appended: hex(&options.append_totp),
            users,
            step,
            random,
            tally: Tally::default(),
            span,
            run: u32::from_ne_bytes(clock::random()),
            began: 0,
            warm_up_logins: logins / 10,
            in_flight: 0,
            options,
        }
    }

    /// Runs to the end; returns what was measured and since when.
    fn run(mut self) -> (Tally, Instant) {
        let window = self.options.window / self.options.threads;
        let count = (self.options.ports / self.options.threads).max(1);
        let tls = self.options.tls.config();
        let mut ports: Vec<(Link, Vec<Slot>, Vec<u8>)> = (0..count)
            .map(|_| {
                (
                    Link::connected(self.options.from, self.options.addr, tls.as_ref()),
                    slots(),
                    (0..=255).rev().collect(),
                )
            })
            .collect();
        let patience = Duration::from_millis(self.options.patience);
        let mut next_look = clock::monotonic();
        let mut exhausted = false;
        loop {
            let now = clock::monotonic();
            if self.options.turns.is_none() && now >= self.span.to || exhausted && self.in_flight == 0 {
                break;
            }
            for (port, slots, free) in &mut ports {
                while self.in_flight < window && !exhausted && !port.is_full() {
                    let Some(id) = free.pop() else { break };
                    match self.users.next() {
                        Some((user, turn)) => self.begin(&mut slots[usize::from(id)], id, user, turn, now),
                        None => {
                            exhausted = true;
                            free.push(id);
                            break;
                        }
                    }
                    port.queue(id);
                }
                if self.in_flight >= window {
                    break;
                }
            }
            // The next round begins with another port.
            ports.rotate_left(1);
            if now >= next_look {
                next_look = now + Duration::from_millis(10);
                for (port, slots, free) in &mut ports {
                    self.send_again(port, slots, free, now, patience);
                }
            }
            let mut received = 0;
            for (port, slots, free) in &mut ports {
                port.send(|id| &slots[usize::from(id)].packet);
                received += port.receive(|reply| self.judge(slots, free, reply));
                port.send(|id| &slots[usize::from(id)].packet);
            }
            if received == 0 {
                datagrams::wait(ports.iter().map(|(port, _, _)| port.descriptor()));
            }
        }
        (self.tally, self.span.from)
    }

    fn begin(&mut self, slot: &mut Slot, id: u8, user: u64, turn: u64, now: Instant) {
        self.in_flight += 1;
        self.began += 1;
        let name = fill(&self.options.user, user);
        if self.options.accounting {
            slot.session = format!("{:08x}-{}", self.run, self.began);
            self.codec.account(id, &name, &slot.session, false, &mut slot.packet);
        } else {
            let mut password = match self.options.recover {
                Some(_) => "?recover".to_owned(),
                None => fill(&self.options.password, user),
            };
            if let Some(key) = &self.appended {
                password = format!("{password},{}", self.code(key, turn));
            }
            self.codec
                .build(id, &name, &password, None, &mut self.random, &mut slot.packet);
        }
        slot.busy = true;
        (slot.began, slot.sent, slot.tries) = (now, now, 0);
        (slot.user, slot.turn, slot.second) = (user, turn, false);
        if self.options.turns.is_some() && self.began == self.warm_up_logins + 1 {
            self.span.from = now;
        }
    }

    /// The code of a turn; without turns, of now.
    fn code(&self, key: &[u8], turn: u64) -> String {
        let step = match self.options.turns {
            Some(_) => self.step + turn,
            None => clock::now().secs() / 30,
        };
        totp(key, step)
    }

    fn send_again(
        &mut self,
        port: &mut Link,
        slots: &mut [Slot],
        free: &mut Vec<u8>,
        now: Instant,
        patience: Duration,
    ) {
        for (id, slot) in (0..=255u8).zip(slots) {
            if !slot.busy || now.saturating_duration_since(slot.sent) < patience {
                continue;
            }
            if slot.tries == SEND_AGAIN {
                slot.busy = false;
                free.push(id);
                self.in_flight -= 1;
                self.count_wrong(now, "lost");
            } else {
                slot.tries += 1;
                slot.sent = now;
                port.queue(id);
                self.count_wrong(now, "sent again");
            }
        }
    }

    /// Takes a reply; an identifier whose packet is to be sent next, if there is one.
    fn judge(&mut self, slots: &mut [Slot], free: &mut Vec<u8>, reply: &[u8]) -> Option<u8> {
        let now = clock::monotonic();
        let &id = reply.get(1)?;
        let slot = &mut slots[usize::from(id)];
        if !slot.busy {
            self.count_wrong(now, "late");
            return None;
        }
        let state = match self.codec.verify(&slot.packet, reply) {
            Ok(state) => state,
            Err(fault) => {
                self.count_wrong(now, fault);
                return None;
            }
        };
        // What follows is a request of its own, under an identifier that rested.
        let rested = free.pop();
        let next = rested.unwrap_or(id);
        let mut packet = std::mem::take(&mut slot.packet);
        let name = fill(&self.options.user, slot.user);
        let mut began = slot.began;
        let follows = match (reply[0], state, &self.key) {
            (packet::ACCESS_CHALLENGE, Some(state), _) if self.options.recover.is_some() => {
                let guess = self.options.recover.clone().unwrap_or_default();
                self.codec
                    .build(next, &name, &guess, Some(state), &mut self.random, &mut packet);
                true
            }
            (packet::ACCESS_REJECT, _, _) if self.options.recover.is_some() => {
                self.count_good(now, began);
                false
            }
            (packet::ACCESS_CHALLENGE, Some(state), Some(key)) if !slot.second => {
                let code = self.code(key, slot.turn);
                self.codec
                    .build(next, &name, &code, Some(state), &mut self.random, &mut packet);
                true
            }
            (packet::ACCOUNTING_RESPONSE, _, _) if self.options.accounting => {
                self.count_good(now, began);
                began = now;
                self.codec.account(next, &name, &slot.session, true, &mut packet);
                !slot.second
            }
            (packet::ACCESS_ACCEPT, _, _) => {
                self.count_good(now, began);
                false
            }
            (code, _, _) => {
                self.count_wrong(now, &format!("code {code}"));
                false
            }
        };
        slot.busy = false;
        if !follows {
            free.extend(rested);
            free.insert(0, id);
            slot.packet = packet;
            self.in_flight -= 1;
            return None;
        }
        if next != id {
            free.insert(0, id);
        }
        let following = Slot {
            busy: true,
            packet,
            began,
            sent: now,
            tries: 0,
            second: true,
            session: std::mem::take(&mut slot.session),
            ..*slot
        };
        slots[usize::from(next)] = following;
        Some(next)
    }

    fn counts(&self, now: Instant) -> bool {
        match self.options.turns {
            Some(_) => self.began > self.warm_up_logins,
            None => self.span.counts(now),
        }
    }

    fn count_good(&mut self, now: Instant, began: Instant) {
        if self.counts(now) {
            self.tally.good(now.saturating_duration_since(began));
        }
    }

    fn count_wrong(&mut self, now: Instant, what: &str) {
        if self.counts(now) {
            self.tally.wrong(what);
        }
    }
}

fn slots() -> Vec<Slot> {
    let now = clock::monotonic();
    (0..256)
        .map(|_| Slot {
            busy: false,
            packet: Vec::new(),
            began: now,
            sent: now,
            tries: 0,
            user: 0,
            turn: 0,
            second: false,
            session: String::new(),
        })
        .collect()
}
