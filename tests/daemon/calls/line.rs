//! Callers who wait in line on the telephone.

use std::thread;
use std::time::Duration;

use super::{in_order, trace};
use crate::support::phone::{Keys, sipp_caller};
use crate::support::process::Daemon;

const LIMIT: Duration = Duration::from_secs(55);

#[test]
fn callers_are_served_in_their_order_and_hear_their_place() {
    let mut daemon = Daemon::new(
        "[voice]\ninbound_from = [\"127.0.0.1\"]\nno_rtp_hangup = \"2m\"\n\
         [[queue]]\nname = \"help\"\nmax_calls = 1\n",
    );
    daemon.start();
    let call = |name: &'static str, number: &'static str, keys: &'static str| {
        sipp_caller(&daemon, name, number, Keys::Events, keys)
    };
    // The first is helped for a while; the others wait, one of them for a call-back.
    let mut first = call("first", "+442079461001", ",5,,,,,,,,,,,,,,,9");
    thread::sleep(Duration::from_secs(4));
    let mut second = call("second", "+442079461002", ",5,,,,,,,,,,,,,,,,,,,,,,,9");
    thread::sleep(Duration::from_secs(1));
    let mut third = call("third", "+442079461003", ",5,,,,1");
    for (name, sipp) in [
        ("first", &mut first),
        ("third", &mut third),
        ("second", &mut second),
    ] {
        let code = sipp.exit_code(LIMIT);
        assert_eq!(code, 0, "{name}: {}\n{}", sipp.log(), daemon.log());
    }
    in_order(
        &trace(&daemon, "first-%"),
        &[
            "exit menu 5 -> line",
            "join help new",
            "join flow self-help",
            "key 9",
            "end 16",
        ],
    );
    in_order(
        &trace(&daemon, "second-%"),
        &["join help new", "join flow self-help", "key 9", "end 16"],
    );
    let told = "say wl_position(place=1) wl_wait(wait=";
    let second = trace(&daemon, "second-%");
    assert!(
        second.iter().any(|l| l.starts_with(told)),
        "{}",
        second.join("\n")
    );
    in_order(
        &trace(&daemon, "third-%"),
        &[
            "join help new",
            "key 1",
            "exit line 1 -> callback",
            "store done",
            "end 16",
        ],
    );
    // The call-back has the place of the caller.
    let sql = "select r.place_at <= i.place_at from request r, inbound i \
               where i.number = r.number and r.number = '+442079461003'";
    daemon.wait_row(sql, "1", LIMIT);
}
