//! Many clients behind one balancer.

use std::net::TcpStream;

use super::peers::Setup;
use super::start;
use super::wire::{ANA, Wire, bind};
use crate::support::haproxy::{BALANCER, connect_from};

#[test]
fn each_client_behind_a_balancer_has_its_own_share_and_the_balancer_none() {
    let slapd = start();
    let front = Setup::before(slapd.address())
        .and("connections = 24")
        .and(&format!("proxy_protocol = {{ from = [\"{BALANCER}\"] }}"))
        .start();
    let through = |client: &str| -> Wire<TcpStream> {
        let stream = connect_from(BALANCER, front.address.port());
        let mut wire = Wire::on(stream);
        let header = format!("PROXY TCP4 {client} 192.0.2.250 40000 389\r\n");
        wire.send(&[header.as_bytes(), &bind(1, ANA, "anapw")].concat());
        wire
    };
    let mut open: Vec<Wire<TcpStream>> = (0..16).map(|_| through("192.0.2.1")).collect();
    for wire in &mut open {
        assert_eq!(wire.expect().code(), 0);
    }
    assert_eq!(through("192.0.2.1").next(), None, "as many as one client may have");
    assert_eq!(through("192.0.2.2").expect().code(), 0, "another client has its own");
    assert_eq!(through("2001:db8::1").next(), None, "TCP4 is not for that");
    open.clear();
    let dropped = front.metrics.render();
    assert!(
        dropped.contains("reason=\"too-many-connections-of-one-source\"} 1\n"),
        "{dropped}"
    );
}
