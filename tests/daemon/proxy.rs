//! Kamailio, with the configuration of `docs/ops`, before two voice nodes; an intake node
//! beside them. All share one PostgreSQL.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::database::{Database, daemon_on, until};
use crate::support::phone::{peers, sipp_trunk, trunk_config, wait_bound};
use crate::support::process::{Daemon, Program, free_port, free_run, http};
use crate::support::sipp::invites;

/// Kamailio asks each node every two seconds whether it lives.
const PROBED: Duration = Duration::from_secs(20);

#[test]
fn a_proxy_spreads_calls_over_the_nodes_that_live_and_any_node_takes_a_request() {
    let database = Database::start();
    let (proxy, carrier, callers) = (free_port(), free_port(), free_port());
    let voice = format!("[node]\nrole = \"voice\"\n{}", trunk_config(proxy, "", ""));
    let intake = "[node]\nrole = \"intake\"\n";
    let (mut a, mut b) = (daemon_on(&database, &voice), daemon_on(&database, &voice));
    let mut desk = daemon_on(&database, intake);
    let folder = tempfile::tempdir().unwrap();
    let messages = folder.path().join("messages");
    let _carrier = sipp_trunk(carrier, &["-sn", "uas", "-aa"], &messages);
    a.start();
    b.start();
    desk.start();
    let _kamailio = kamailio(folder.path(), proxy, [a.sip, b.sip], [carrier, callers]);

    // A request goes in at one node and out by another, through the proxy.
    desk.ask("+442079460123");
    until(PROBED, "the request is called", || {
        invites(&messages).contains_key("+442079460123")
    });
    assert!(
        http(a.http, "GET", "/help", &[], "").is_err(),
        "no web listener"
    );
    assert_eq!(incoming(&desk), 0);

    assert_eq!(call(folder.path(), proxy, callers, 20), 0);
    let (first, second) = (taken(&a), taken(&b));
    assert_eq!((first, second), (10, 10), "by turns");

    b.kill();
    until(PROBED, "the dead node is out of use", || {
        call(folder.path(), proxy, callers, 4) == 0
    });
    let before = taken(&a);
    assert_eq!(call(folder.path(), proxy, callers, 6), 0);
    assert_eq!(taken(&a), before + 6, "the other one takes them all");
    for daemon in [&mut a, &mut desk] {
        assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    }
}

/// Kamailio on `port`, before the voice `nodes`, behind `carriers`.
fn kamailio(folder: &Path, port: u16, nodes: [u16; 2], carriers: [u16; 2]) -> Kamailio {
    let list = folder.join("dispatcher.list");
    let line =
        |set: u8, port: u16, priority: u8| format!("{set} sip:127.0.0.1:{port} 0 {priority}\n");
    let nodes = nodes.map(|port| line(1, port, 0)).concat();
    let [out, callers] = carriers;
    fs::write(&list, nodes + &line(2, out, 10) + &line(2, callers, 0)).unwrap();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ops/kamailio.cfg");
    let mut command = Command::new("kamailio");
    command
        .args(["-DD", "-E", "-m", "32", "-f"])
        .arg(config)
        .arg("-Y")
        .arg(folder)
        .args(["-A", &format!("LISTEN=udp:127.0.0.1:{port}")])
        .args(["-A", &format!("NODES=\"{}\"", list.display())]);
    let started = Program::start(command, &folder.join("kamailio.log"));
    wait_bound(port);
    Kamailio(started)
}

/// Killed, it would leave its children behind.
struct Kamailio(Program);

impl Drop for Kamailio {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGTERM);
        self.0.ends(Duration::from_secs(10));
    }
}

/// `count` callers, four a second; the exit code of SIPp is 0 when each was served.
fn call(folder: &Path, proxy: u16, port: u16, count: u32) -> i32 {
    let mut command = Command::new("sipp");
    command
        .arg(format!("127.0.0.1:{proxy}"))
        .arg("-sf")
        .arg(peers().join("sipp/uac_routed.xml"))
        .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-nostdin"])
        .args(["-mi", "127.0.0.1", "-mp", &free_run(4).to_string()])
        .args(["-m", &count.to_string(), "-r", "4", "-timeout", "40s"])
        .current_dir(folder);
    Program::start(command, &folder.join("callers.log")).exit_code(Duration::from_secs(60))
}

/// Incoming calls that a node has answered, once its figures have caught up.
fn taken(node: &Daemon) -> u32 {
    std::thread::sleep(Duration::from_millis(2_500));
    incoming(node)
}

fn incoming(node: &Daemon) -> u32 {
    let metrics = http(node.ops, "GET", "/metrics", &[], "").unwrap().body;
    let name = "helpline_calls_total{direction=\"in\",result=\"answered\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.parse().unwrap())
}
