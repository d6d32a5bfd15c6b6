//! haproxy as a load balancer on TCP, in front of what the tests run.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::process::{Process, free_port, listening, until};

/// Where haproxy connects from: not where its clients do.
pub(crate) const BALANCER: &str = "127.0.0.9";

/// A running haproxy; its files go with it.
pub(crate) struct Haproxy {
    _folder: TempDir,
    process: Process,
    ports: Vec<u16>,
}

impl Haproxy {
    /// One frontend for each server: the loopback port that it passes connections on to, and how
    /// (`send-proxy-v2 check inter 100`).
    pub(crate) fn start(servers: &[(u16, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut text = String::from(
            "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n",
        );
        let mut ports = Vec::new();
        for (number, (port, options)) in servers.iter().enumerate() {
            let front = free_port();
            let _ = write!(
                text,
                "listen l{number}\n  bind 127.0.0.1:{front}\n  server s 127.0.0.1:{port} source {BALANCER} {options}\n"
            );
            ports.push(front);
        }
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, text).expect("writing haproxy.cfg");
        let mut command = Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::start(&command, &folder.path().join("haproxy.log"));
        until("haproxy listens", || {
            assert!(process.ended().is_none(), "haproxy ended: {}", process.log());
            ports.iter().all(|port| listening(*port))
        });
        Self {
            _folder: folder,
            process,
            ports,
        }
    }

    /// Where the frontend of that number listens.
    pub(crate) fn port(&self, number: usize) -> u16 {
        self.ports[number]
    }

    /// What it has written: servers that come and go.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// A connection from a loopback address, to a loopback port.
pub(crate) fn connect_from(source: &str, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = format!("{source}:0").parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket
        .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
        .unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}
