//! Agents on telephones of another maker take the calls of a queue.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::super::database::{Database, daemon_on, until};
use super::{helpline, in_order, trace};
use crate::support::phone::{Baresip, Keys, loud_samples, refusing_trunk};
use crate::support::phone::{sipp_caller, trunk_config};
use crate::support::process::{Daemon, free_run, http};

/// What a customer says who picks up.
const HELLO: Duration = Duration::from_millis(600);
/// An agent is heard all the time.
const TALKS: Duration = Duration::from_secs(60);
const NUMBER: &str = "+4930123456";
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon, its customer, and its agents.
struct Office {
    daemon: Daemon,
    customer: Baresip,
    agents: Vec<(&'static str, Baresip)>,
}

impl Office {
    /// All of them are there, the agents available, who is named first for longest; `true`: he
    /// lifts by himself.
    fn open(mode: &str, agents: &[(&'static str, bool)]) -> Office {
        let port = free_run(2);
        // A customer who comes first is one who sounds all the time; SIPp does not.
        let silence = if mode == "customer_first" { "2s" } else { "2m" };
        let queue = format!(
            "agents = {{ mode = \"{mode}\", ring = \"5s\", wrap_up = \"1s\" }}\n\
             [voice]\ninbound_from = [\"127.0.0.1\"]\nno_rtp_hangup = \"{silence}\"\n\
             inbound_flow = \"wait-in-line\"\n"
        );
        let mut daemon = Daemon::new(&trunk_config(port, "", &queue));
        let password = daemon.dir.path().join("password");
        fs::write(&password, "opensesame\n").unwrap();
        let mut config = fs::read_to_string(daemon.config_path()).unwrap();
        for (name, _) in agents {
            config.push_str(&format!(
                "[[phone]]\nusername = \"{name}\"\npassword_file = {password:?}\n\
                 [[agent]]\nname = \"{name}\"\nphone = \"{name}\"\n"
            ));
        }
        fs::write(daemon.config_path(), config).unwrap();
        let dir = |name: &str| daemon.dir.path().join(format!("phone-{name}"));
        let customer = Baresip::start(dir("customer"), port, HELLO, None);
        let folders: Vec<_> = agents.iter().map(|(name, _)| dir(name)).collect();
        daemon.start();
        let mut office = Office {
            daemon,
            customer,
            agents: Vec::new(),
        };
        for ((name, lifts), dir) in agents.iter().zip(folders) {
            let account = format!(
                "<sip:{name}@127.0.0.1:{}>;auth_user={name};auth_pass=opensesame;regint=60;\
                 answermode={};audio_codecs=PCMU/8000/1",
                office.daemon.sip,
                if *lifts { "auto" } else { "manual" }
            );
            let phone = Baresip::start(dir, free_run(2), TALKS, Some(&account));
            office.agents.push((name, phone));
            let registered = format!("select node is not null from agent where name = '{name}'");
            office.daemon.wait_row(&registered, "1", LIMIT);
            let words = ["agent", "set", name, "available"];
            assert_eq!(
                helpline(&office.daemon, &words),
                format!("{name} is available\n")
            );
        }
        office
    }

    fn agent(&mut self, name: &str) -> &mut Baresip {
        let found = self.agents.iter_mut().find(|(known, _)| *known == name);
        &mut found.unwrap().1
    }

    /// The customer asks, picks up, hears the question and accepts.
    fn customer_accepts(&mut self) {
        self.daemon.ask(NUMBER);
        self.customer_answers();
    }

    fn customer_answers(&mut self) {
        let answered = "select count(*) from attempt where answer_at is not null and live = 1";
        self.daemon.wait_row(answered, "1", LIMIT);
        sleep(Duration::from_secs(2));
        self.customer.press('1');
    }

    fn wait_state(&self, name: &str, state: &str) {
        let sql = format!("select state from agent where name = '{name}'");
        self.daemon.wait_row(&sql, state, LIMIT);
    }

    fn wait_talk_with(&self, name: &str) {
        self.wait_state(name, "talking");
        let taken = "select agent from attempt where live = 1";
        self.daemon.wait_row(taken, name, LIMIT);
        let connected = "select state from request where open = 1";
        self.daemon.wait_row(connected, "connected", LIMIT);
    }

    fn wait_done(&self) {
        let sql = "select disposition from attempt where state = 'ended'";
        self.daemon.wait_row(sql, "talked", LIMIT);
        self.daemon
            .wait_row("select state from request", "done", LIMIT);
    }

    /// Whether this telephone, put away now, has heard a second of sound.
    fn has_heard(baresip: &mut Baresip) {
        baresip.program.kill();
        let loud = loud_samples(&baresip.dir);
        assert!(
            loud > 8_000,
            "{}: {loud} loud samples",
            baresip.dir.display()
        );
    }
}

#[test]
fn an_agent_who_does_not_lift_is_followed_by_one_who_does() {
    let mut office = Office::open("reserved", &[("bob", false), ("ada", true)]);
    office.daemon.ask(NUMBER);
    let answered = "select count(*) from attempt where answer_at is not null and live = 1";
    office.daemon.wait_row(answered, "1", LIMIT);
    sleep(Duration::from_secs(2));
    // The number may be anybody's: he is kept for it, and not troubled yet.
    office.wait_state("bob", "ringing");
    assert!(!office.agent("bob").is_rung());
    office.customer.press('1');
    sleep(Duration::from_secs(1));
    assert!(office.agent("bob").is_rung());
    office.wait_talk_with("ada");
    let bob = "select state || ' ' || reason from agent where name = 'bob'";
    assert_eq!(office.daemon.rows(bob), [["break no_answer"]]);
    let list = helpline(&office.daemon, &["agent", "list"]);
    assert!(list.contains("break/no_answer"), "{list}");
    // By a code he tells that he is back, and by another that he leaves.
    office.agent("bob").order("dial", "*1");
    office.wait_state("bob", "available");
    sleep(Duration::from_secs(2));
    office.agent("bob").order("dial", "*0");
    office.wait_state("bob", "offline");
    // They hear each other.
    sleep(Duration::from_secs(3));
    office.agent("ada").order("hangup", "");
    office.wait_done();
    office.wait_state("ada", "available");
    in_order(
        &trace(&office.daemon, "%"),
        &[
            "join help reserved",
            "event talk ada",
            "event talk_ended",
            "event answered",
            "end 16",
        ],
    );
    Office::has_heard(&mut office.customer);
    // The numbers are taken now and then.
    sleep(Duration::from_secs(3));
    let metrics = http(office.daemon.ops, "GET", "/metrics", &[], "").unwrap();
    let free = "helpline_agents{queue=\"help\",state=\"available\"} 1\n";
    assert!(metrics.body.contains(free), "{}", metrics.body);
    assert_eq!(office.daemon.stop(), 0, "{}", office.daemon.log());
}

#[test]
fn an_agent_who_comes_first_lifts_before_the_customer_is_called() {
    let mut office = Office::open("agent_first", &[("bob", false), ("ada", true)]);
    office.daemon.ask(NUMBER);
    office.wait_state("bob", "ringing");
    let none = office.daemon.rows("select count(*) from attempt");
    assert_eq!(
        none,
        [["0"]],
        "the customer is called before an agent has lifted"
    );
    office.wait_state("bob", "break");
    office.customer_answers();
    office.wait_talk_with("ada");
    let counted = office.daemon.rows("select tries, attempts from request");
    assert_eq!(counted, [["1", "0"]], "bob's silence is counted");
    sleep(Duration::from_secs(2));
    office.customer.order("hangup", "");
    office.wait_done();
    office.wait_state("ada", "available");
    Office::has_heard(office.agent("ada"));
    assert_eq!(office.daemon.stop(), 0, "{}", office.daemon.log());
}

#[test]
fn a_customer_who_comes_first_gets_whoever_is_free_and_keeps_the_line_when_he_is_lost() {
    let mut office = Office::open("customer_first", &[("ada", true), ("bob", true)]);
    office.customer_accepts();
    office.wait_talk_with("ada");
    // Her telephone falls to the ground: no more sound comes.
    office.agent("ada").program.kill();
    office.wait_state("ada", "lagged");
    office.wait_talk_with("bob");
    office.agent("bob").order("hangup", "");
    office.wait_done();
    in_order(
        &trace(&office.daemon, "%"),
        &[
            "event talk ada",
            "event talk_broke",
            "event talk bob",
            "event answered",
            "end 16",
        ],
    );
    assert_eq!(office.daemon.stop(), 0, "{}", office.daemon.log());
}

#[test]
fn a_caller_gets_an_agent_and_need_not_be_called_back() {
    let mut office = Office::open("reserved", &[("ada", true)]);
    let tomorrow = Command::new("date")
        .args(["-u", "-d", "tomorrow 12:00", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    let tomorrow = String::from_utf8(tomorrow.stdout).unwrap();
    let body = format!(
        "{{\"phone\":\"+442079461001\",\"when\":{{\"at\":\"{}\"}}}}",
        tomorrow.trim()
    );
    let booked = office.daemon.post_json(&body, &[]).unwrap();
    assert_eq!(booked.status, 201, "{}", booked.body);
    // A key in a talk is the agent's to hear, not the flow's.
    let mut caller = sipp_caller(
        &office.daemon,
        "caller",
        "+442079461001",
        Keys::Events,
        ",1",
    );
    office.wait_state("ada", "talking");
    sleep(Duration::from_secs(21));
    office.agent("ada").order("hangup", "");
    assert_eq!(
        caller.exit_code(Duration::from_secs(55)),
        0,
        "{}",
        office.daemon.log()
    );
    office.wait_state("ada", "available");
    let settled = "select state from request";
    office.daemon.wait_row(settled, "settled_inbound", LIMIT);
    in_order(
        &trace(&office.daemon, "caller-%"),
        &["join help new", "event talk ada"],
    );
}

#[test]
fn the_daemon_at_which_the_telephone_is_calls_for_its_agent() {
    let database = Database::start();
    let (port, dir) = (free_run(2), tempfile::tempdir().unwrap());
    let password = dir.path().join("password");
    fs::write(&password, "opensesame\n").unwrap();
    let config = trunk_config(port, "", "agents = { mode = \"reserved\" }")
        + &format!(
            "[[phone]]\nusername = \"ada\"\npassword_file = {password:?}\n\
             [[agent]]\nname = \"ada\"\nphone = \"ada\"\n"
        );
    let (mut here, mut there) = (daemon_on(&database, &config), daemon_on(&database, &config));
    let _customers = refusing_trunk(port, "486 Busy Here", &dir.path().join("messages"));
    here.start();
    there.start();
    let account = format!(
        "<sip:ada@127.0.0.1:{}>;auth_user=ada;auth_pass=opensesame;regint=60",
        here.sip
    );
    let phone = dir.path().join("phone");
    let _ada = Baresip::start(phone, free_run(2), TALKS, Some(&account));
    let registered =
        || helpline(&there, &["agent", "list", "--json"]).contains("\"registered\":true");
    until(LIMIT, "both know of the telephone", registered);
    // Either daemon may be told.
    helpline(&there, &["agent", "set", "ada", "available"]);
    there.ask(NUMBER);
    until(LIMIT, "the customer is called", || {
        here.log().contains("an attempt ended")
    });
    assert!(!there.log().contains("an attempt ended"), "{}", there.log());
    let free = || helpline(&there, &["agent", "list"]).contains("available");
    until(LIMIT, "she is free again", free);
    assert_eq!(here.stop(), 0, "{}", here.log());
    assert_eq!(there.stop(), 0, "{}", there.log());
}
