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
use crate::support::sipp::Script;

fn ada(config: &mut EngineConfig, dir: &Path) {
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
    let control = configure_baresip(dir, world.trunk);
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
