//! Servers found by DNS (RFC 2782), which is played by a responder of our own.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use portcullis::config;
use portcullis::directory::ldap::LdapDirectory;
use portcullis::directory::{Directory, Standing};
use portcullis::engine::{Lookup, PasswordOutcome};
use tokio::net::UdpSocket;

use super::{eventually, name, person, start, verify};
use crate::support::slapd::Slapd;

const RECORD: &str = "_ldap._tcp.dc._msdcs.example.org";

/// What the name server says of [`RECORD`]; every other name has the address 127.0.0.1.
#[derive(Clone)]
enum Zone {
    Silent,
    NotThere,
    /// Priority, port and target of each record.
    Records(Vec<(u16, u16, &'static str)>),
}

struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl NameServer {
    async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(zone));
        let says = Arc::clone(&zone);
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let zone = says.lock().unwrap().clone();
                if let Some(answer) = answer(&Message::from_vec(&packet[..length]).unwrap(), &zone) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self { address, zone }
    }

    fn says(&self, zone: Zone) {
        *self.zone.lock().unwrap() = zone;
    }
}

fn answer(question: &Message, zone: &Zone) -> Option<Vec<u8>> {
    let query = question.queries.first()?;
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    answer.add_query(query.clone());
    let record = |data| Record::from_rdata(query.name().clone(), 1, data);
    match (query.query_type(), zone) {
        (RecordType::SRV, Zone::Silent) => return None,
        (RecordType::SRV, Zone::Records(records)) if query.name().to_ascii() == format!("{RECORD}.") => {
            for (priority, port, target) in records {
                let target = Name::from_str(target).unwrap();
                answer.add_answer(record(RData::SRV(SRV::new(*priority, 0, *port, target))));
            }
        }
        (RecordType::SRV, _) => answer.metadata.response_code = ResponseCode::NXDomain,
        (RecordType::A, _) => {
            answer.add_answer(record(RData::A(A(Ipv4Addr::LOCALHOST))));
        }
        _ => {}
    }
    Some(answer.to_vec().unwrap())
}

fn discovered(dns: &NameServer, more: &str) -> Arc<LdapDirectory> {
    let text = format!(
        "name = \"corp\"\nsrv = \"{RECORD}\"\ndns_servers = [\"{}\"]\nbase_dn = \"ou=people,dc=example,dc=org\"\n\
         bind_dn = \"cn=svc,dc=example,dc=org\"\nbind_password = \"svcpw\"\ncache = \"0s\"\n\
         health_interval = \"200ms\"\n{more}",
        dns.address
    );
    let config: config::LdapDirectory = toml::from_str(&text).unwrap();
    LdapDirectory::new(&config).unwrap()
}

fn port(slapd: &Slapd) -> u16 {
    slapd.address().port()
}

fn addresses(directory: &LdapDirectory) -> Vec<String> {
    let servers = directory.status().servers;
    servers.into_iter().map(|server| server.address).collect()
}

const PLAIN: &str = "allow_plaintext = true\n";

#[tokio::test]
async fn people_log_in_at_the_servers_that_dns_names() {
    let (mut first, second, third) = (start(), start(), start());
    let [one, two, three] = [&first, &second, &third].map(port);
    // Names that nobody else knows, the preferred one last, and one twice.
    let records = vec![
        (20, two, "b.example.org."),
        (20, two, "B.Example.org."),
        (10, one, "a.example.org."),
    ];
    let dns = NameServer::start(Zone::Records(records)).await;
    let directory = discovered(&dns, PLAIN);
    // Whoever comes before DNS has answered waits for it.
    let ana = person(&*directory, &name("ana")).await;
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    assert_eq!(verify(&*directory, &ana, "wrong").await, PasswordOutcome::Wrong);
    let urls = [(one, "a"), (two, "b"), (three, "c")];
    let urls = urls.map(|(port, host)| format!("ldap://{host}.example.org:{port}"));
    assert_eq!(addresses(&directory), urls[..2]);
    let connections = |number: usize| directory.status().servers[number].connections;
    assert!(connections(0) > 0 && connections(1) == 0, "{:?}", directory.status());

    first.kill();
    assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    assert!(connections(1) > 0);

    // The records change: the server that stays keeps its connections, the new one is preferred.
    dns.says(Zone::Records(vec![
        (5, three, "c.example.org."),
        (20, two, "b.example.org."),
    ]));
    eventually("the new server is taken", async || {
        addresses(&directory) == [urls[2].clone(), urls[1].clone()]
    })
    .await;
    assert!(connections(1) > 0);
    person(&*directory, &name("ana")).await;
    assert!(connections(0) > 0);

    // No answer, and that there is none, change nothing: both are asked for by now.
    for zone in [Zone::NotThere, Zone::Silent] {
        dns.says(zone);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(addresses(&directory), [urls[2].clone(), urls[1].clone()]);
        assert_eq!(verify(&*directory, &ana, "secret").await, PasswordOutcome::Right);
    }
}

#[tokio::test]
async fn a_directory_starts_before_dns_answers() {
    let slapd = start();
    for zone in [Zone::NotThere, Zone::Records(vec![(0, 0, ".")])] {
        let dns = NameServer::start(zone).await;
        let directory = discovered(&dns, PLAIN);
        let lookup = directory.look_up(&name("ana")).await;
        let Lookup::Unavailable(why) = lookup else {
            panic!("{lookup:?}")
        };
        assert!(why.contains("DNS says that"), "{why}");
        assert!(directory.connect().await.is_err());
        let [server] = &directory.status().servers[..] else {
            panic!()
        };
        assert_eq!((server.healthy, server.standing), (false, Standing::GivenUp));
        assert!(server.address.contains(RECORD) && server.error.is_some(), "{server:?}");

        dns.says(Zone::Records(vec![(0, port(&slapd), "a.example.org.")]));
        eventually("the server is found", async || {
            matches!(directory.look_up(&name("ana")).await, Lookup::Found(_))
        })
        .await;
    }
}

#[tokio::test]
async fn the_certificate_must_name_the_target() {
    let slapd = start();
    let ca = format!("ca_file = {:?}\n", slapd.certificates().authority);
    let dns = NameServer::start(Zone::Records(vec![(0, port(&slapd), "ldap.example.org.")])).await;
    person(&*discovered(&dns, &ca), &name("ana")).await;

    dns.says(Zone::Records(vec![(0, port(&slapd), "other.example.org.")]));
    let lookup = discovered(&dns, &ca).look_up(&name("ana")).await;
    assert!(
        matches!(&lookup, Lookup::Unavailable(why) if why.contains("certificate")),
        "{lookup:?}"
    );
    // One name for all, whatever DNS calls them.
    let strict = discovered(&dns, &format!("{ca}server_name = \"ldap.example.org\"\n"));
    person(&*strict, &name("ana")).await;
}
