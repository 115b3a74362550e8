//! Agents' telephones: baresip registers and is rung; SIPp tries everything else.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use helpline::config;
use helpline::voice::{CallEvent, EngineConfig};
use helpline_core::call::End;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::sip::{LIMIT, World, connect, desk};
use crate::support::phone::{baresip_order, configure_baresip};
use crate::support::sipp::{Script, sdp};

fn ada(config: &mut EngineConfig, _: u16, dir: &Path) {
    let password_file = dir.join("ada");
    std::fs::write(&password_file, "opensesame\n").unwrap();
    config.phones = vec![config::Phone {
        username: "ada".into(),
        password_file,
    }];
}

/// A baresip that registers as ada with this password; its control port.
fn baresip(world: &World, dir: &Path, password: &str) -> (Child, u16) {
    std::fs::create_dir_all(dir).unwrap();
    let control = configure_baresip(dir, world.trunk, Duration::from_secs(60));
    let registrar = world.engine.sip_address();
    let account = format!(
        "<sip:ada@{registrar}>;auth_user=ada;auth_pass={password};regint=60;answermode=auto;audio_codecs=PCMU/8000/1\n"
    );
    std::fs::write(dir.join("accounts"), account).unwrap();
    let child = Command::new("baresip")
        .args(["-f", dir.to_str().unwrap(), "-t", "25"])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(dir.join("said")).unwrap())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("baresip (package baresip-core) is installed");
    (child, control)
}

async fn is_registered(world: &World, want: bool) -> bool {
    let turned = async {
        while world.engine.phones() != [("ada".to_owned(), want)] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), turned).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_registers_is_rung_and_goes_away() {
    let world = World::with(ada).await;
    let dir = world.dir.path().join("phone");
    let (mut child, control) = baresip(&world, &dir, "opensesame");
    let said = || std::fs::read_to_string(dir.join("said")).unwrap_or_default();
    assert!(is_registered(&world, true).await, "{}", said());
    assert_eq!(world.engine.failed_proofs(), 0);
    let mut orders = timeout(LIMIT, connect(([127, 0, 0, 1], control).into()))
        .await
        .unwrap();
    let mut call = world.place_on("phone:ada", LIMIT).await;
    loop {
        match timeout(LIMIT, call.events.recv()).await.unwrap().unwrap() {
            CallEvent::Answered => break,
            CallEvent::Ended(report) => panic!("not answered: {report:?}\n{}", said()),
            _ => {}
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let order = baresip_order("sndcode", "1");
    orders.write_all(order.as_bytes()).await.unwrap();
    let (words, _, keys) = desk(&mut call).await;
    assert_eq!((words, keys.as_str()), (vec!["join"], "1"), "{}", said());
    let order = baresip_order("quit", "");
    orders.write_all(order.as_bytes()).await.unwrap();
    assert!(is_registered(&world, false).await, "{}", said());
    timeout(LIMIT, child.wait()).await.unwrap().unwrap();
    // A telephone that is not there is not rung.
    let mut call = world.place_on("phone:ada", LIMIT).await;
    let (_, report, _) = desk(&mut call).await;
    assert_eq!(report.end, End::Unreachable);
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_registers_nothing_and_counts() {
    let world = World::with(ada).await;
    let dir = world.dir.path().join("phone");
    let (_child, _) = baresip(&world, &dir, "guess");
    let failed = async {
        while world.engine.failed_proofs() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, failed).await.expect("a proof fails");
    assert_eq!(world.engine.phones(), [("ada".to_owned(), false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_registers_within_limits_and_takes_all_back() {
    let contact = "Contact: <sip:ada@[local_ip]:[local_port]>\n";
    let proven = |rest: &str| format!("[authentication username=ada password=opensesame]\n{rest}");
    let script = Script::caller("ada")
        .send("REGISTER", contact, "")
        .expect(
            401,
            &["realm=.helpline., nonce=.[^,]*, algorithm=MD5, qop=.auth."],
        )
        .send("REGISTER", &proven(&format!("{contact}Expires: 10\n")), "")
        .expect(423, &["Min-Expires: 60"])
        .send("REGISTER", contact, "")
        .expect(401, &[])
        .send(
            "REGISTER",
            &proven(&format!("{contact}Expires: 3600\n")),
            "",
        )
        .expect(200, &["Contact: <sip:ada@[^>]*>;expires=300"])
        .send("REGISTER", "Contact: *\nExpires: 0\n", "")
        .expect(401, &[])
        .send("REGISTER", &proven("Contact: *\nExpires: 0\n"), "")
        .expect(200, &[]);
    let world = World::with(ada).await;
    let sipp = world.script(script).await;
    sipp.ends_content().await;
    assert_eq!(world.engine.phones(), [("ada".to_owned(), false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_and_a_daemon_without_telephones_register_nobody() {
    let contact = "Contact: <sip:eve@[local_ip]:[local_port]>\n";
    let proof = "[authentication username=ada password=opensesame]\n";
    // The right password of another: 403.
    let script = Script::caller("eve")
        .send("REGISTER", contact, "")
        .expect(401, &[])
        .send("REGISTER", &format!("{proof}{contact}"), "")
        .expect(403, &[]);
    let world = World::with(ada).await;
    world.script(script).await.ends_content().await;
    let world = World::new().await;
    let script = Script::caller("ada")
        .send("REGISTER", contact, "")
        .expect(405, &["Allow: INVITE"]);
    world.script(script).await.ends_content().await;
}

/// What a telephone that called in asks for, and what it is told.
async fn transfers(script: Script) -> Vec<&'static str> {
    let mut world = World::with(|config, trunk, dir| {
        ada(config, trunk, dir);
        config.dial.allow = vec!["DE".into()];
    })
    .await;
    let sipp = world.script(script).await;
    let Ok(incoming) = timeout(LIMIT / 2, world.callers.recv()).await else {
        sipp.ends_content().await;
        panic!("nobody called in");
    };
    let (words, _, _) = desk(&mut incoming.unwrap().call).await;
    sipp.ends_content().await;
    world.is_clean().await;
    words
}

/// A telephone calls in and proves who it is.
fn calls_in() -> Script {
    let proof = "[authentication username=ada password=opensesame]\n";
    Script::caller("ada")
        .calling_nobody()
        .send("INVITE", "", &sdp(1, "sendrecv"))
        .expect(401, &[])
        .send("ACK", "", "")
        .send("INVITE", proof, &sdp(1, "sendrecv"))
        .expect(200, &[])
        .send("ACK", "", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telephone_transfers_to_an_allowed_number_and_is_told() {
    let told = |code: &str, state: &str| {
        [
            format!("Subscription-State: {state}"),
            format!("SIP/2.0 {code}"),
            "Event: refer".to_owned(),
        ]
    };
    let mut script = calls_in()
        .send("REFER", "Refer-To: <sip:+4930123456@[remote_ip]>\n", "")
        .expect(202, &[]);
    for (code, state) in [("100", "active"), ("180", "active"), ("200", "terminated")] {
        let lines = told(code, state);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        script = script
            .await_request("NOTIFY", &lines)
            .answer("200 OK", "", "");
    }
    assert_eq!(transfers(script.bye()).await, ["answered", "transfer"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_that_the_rules_forbid_or_that_name_nothing_are_refused() {
    let script = calls_in()
        .send("REFER", "Refer-To: <sip:+447911123456@[remote_ip]>\n", "")
        .expect(603, &[])
        .send(
            "REFER",
            "Refer-To: <sip:+4930123456@[remote_ip];method=BYE>\n",
            "",
        )
        .expect(400, &[])
        .send(
            "REFER",
            "Refer-To: <sip:x@h?Replaces=no%3Bto-tag%3D1%3Bfrom-tag%3D2>\n",
            "",
        )
        .expect(481, &[])
        .bye();
    assert_eq!(transfers(script).await, ["answered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invite_that_replaces_nothing_of_ours_is_refused() {
    let script = Script::caller("trunk")
        .send(
            "INVITE",
            "Replaces: no@test;to-tag=1;from-tag=2\n",
            &sdp(1, "sendrecv"),
        )
        .expect(481, &[])
        .send("ACK", "", "");
    let world = World::new().await;
    world.script(script).await.ends_content().await;
    world.is_clean().await;
}
