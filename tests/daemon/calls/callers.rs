//! People who phone in and walk through the shipped menu.

use std::thread;
use std::time::{Duration, Instant};

use super::{in_order, trace};
use crate::support::phone::{Keys, sipp_caller};
use crate::support::process::{Daemon, http};

/// Longest call: two wrong keys, the whole menu and its silence.
const CALL_LIMIT: Duration = Duration::from_secs(55);
/// Account number keyed in; it may stand in no trace and no log.
const ACCOUNT: &str = "481516";

/// Calls, waits for the daemon's BYE, and gives the trace.
fn call(daemon: &Daemon, name: &str, number: &str, way: Keys, keys: &str) -> Vec<String> {
    let mut sipp = sipp_caller(daemon, name, number, way, keys);
    let code = sipp.exit_code(CALL_LIMIT);
    assert_eq!(code, 0, "{name}: {}\n{}", sipp.log(), daemon.log());
    trace(daemon, &format!("{name}-%"))
}

/// Each branch of the menu by one caller, all at once.
fn every_branch_is_reached(way: Keys) {
    let mut daemon =
        Daemon::new("[voice]\ninbound_from = [\"127.0.0.1\"]\nno_rtp_hangup = \"2m\"\n");
    daemon.start();
    thread::scope(|calls| {
        let call = |name: &'static str, number: &'static str, keys: &'static str| {
            let daemon = &daemon;
            calls.spawn(move || call(daemon, name, number, way, keys))
        };
        let help = call("help", "+442079461001", ",1,,9");
        let account = call("account", "+442079461002", ",2,481516,,,,,1,9");
        let back = call("back", "+442079461003", ",3");
        let again = call("again", "+442079461004", ",*,*,1,9");
        let wrong = call("wrong", "+442079461005", ",7,8");
        let hidden = call("hidden", "anonymous", ",3,,,442079461006#");
        let [help, account, back, again, wrong, hidden] =
            [help, account, back, again, wrong, hidden].map(|c| c.join().expect("see above"));

        in_order(
            &help,
            &[
                "node is_open branch",
                "key 1",
                "exit menu 1 -> help",
                "key 9",
                "exit topics 9 -> bye",
                "exit help done -> bye",
                "end 16",
            ],
        );
        in_order(
            &account,
            &[
                "exit menu 2 -> ask_account",
                "exit ask_account next -> tell_account",
                "say account_is(digits_keyed=******)",
                "node menu menu",
                "exit menu 1 -> help",
                "end 16",
            ],
        );
        let masked = account.iter().filter(|l| *l == "key masked").count();
        assert_eq!(masked, ACCOUNT.len(), "{}", account.join("\n"));
        in_order(
            &back,
            &[
                "exit menu 3 -> has_number",
                "exit has_number known -> callback",
                "store done",
                "say cb_ok cb_place(place=1)",
                "node bye play",
                "end 16",
            ],
        );
        in_order(
            &hidden,
            &[
                "exit has_number else -> ask_number",
                "exit ask_number next -> callback_number",
                "store done",
                "end 16",
            ],
        );
        in_order(
            &again,
            &[
                "exit menu * -> menu",
                "exit menu * -> menu",
                "exit menu 1 -> help",
                "end 16",
            ],
        );
        in_order(
            &wrong,
            &[
                "key 7",
                "event no_match",
                "key 8",
                "event no_match",
                "event no_input",
                "event exhausted",
                "exit menu exhausted -> bye",
                "end 16",
            ],
        );
    });
    let requests = daemon.rows("select number, channel, state, queue from request order by number");
    assert_eq!(
        requests,
        [
            ["+442079461003", "phone", "waiting", "help"],
            ["+442079461006", "phone", "waiting", "help"]
        ]
    );
    let told = daemon.rows(&format!(
        "select count(*) from call_trace where data like '%{ACCOUNT}%'"
    ));
    assert_eq!(told, [["0"]], "an account number is in the trace");
    assert!(
        !daemon.log().contains(ACCOUNT),
        "an account number is in the log"
    );
    let live = daemon.rows("select count(*), sum(live) from inbound");
    assert_eq!(live, [["6", "0"]]);
    let way = match way {
        Keys::Events => "method=\"rfc4733\"",
        Keys::Sound => "method=\"inband\"",
    };
    assert_eq!(counted(&daemon, "helpline_dtmf_total", way, 32), 32);
    let given_up = "flow=\"main-menu\",exit=\"exhausted\"";
    assert_eq!(
        counted(&daemon, "helpline_flow_nodes_total", given_up, 1),
        1
    );
    for metric in ["flow_tries", "flow_first_key_seconds"] {
        let count = format!("helpline_{metric}_count");
        assert!(
            counted(&daemon, &count, "flow=\"main-menu\"", 6) > 5,
            "{metric}"
        );
    }
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}

/// What the series of a metric stands at; the daemon counts every two seconds, so it is
/// given time to reach `least`.
fn counted(daemon: &Daemon, metric: &str, labels: &str, least: u32) -> u32 {
    let series = format!("{metric}{{{labels}}} ");
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = http(daemon.ops, "GET", "/metrics", &[], "").unwrap().body;
        let count = (metrics.lines()).find_map(|line| line.strip_prefix(&series)?.parse().ok());
        match count {
            Some(count) if count >= least || Instant::now() > end => return count,
            None if Instant::now() > end => panic!("no {series}:\n{metrics}"),
            _ => thread::sleep(Duration::from_millis(100)),
        }
    }
}

#[test]
fn callers_reach_every_branch_of_the_menu_by_telephone_events() {
    every_branch_is_reached(Keys::Events);
}

#[test]
fn callers_reach_every_branch_of_the_menu_by_sound_alone() {
    every_branch_is_reached(Keys::Sound);
}

#[test]
fn a_stranger_who_phones_in_is_refused() {
    // Nobody is allowed in but the trunk, and there is none.
    let mut daemon = Daemon::new("");
    daemon.start();
    let mut sipp = sipp_caller(&daemon, "stranger", "+442079461099", Keys::Events, "1");
    let code = sipp.exit_code(CALL_LIMIT);
    assert_ne!(code, 0, "a stranger was served");
    assert_eq!(daemon.rows("select count(*) from inbound"), [["0"]]);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
}
