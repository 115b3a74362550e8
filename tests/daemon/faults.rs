//! A daemon that cannot run says why, with file, line and key, and does not half start.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use crate::support::process::Daemon;

const SOON: Duration = Duration::from_secs(20);

/// Starts a daemon that must refuse; what it said.
fn refusal(daemon: &mut Daemon) -> String {
    let program = daemon.spawn();
    let code = program.exit_code(SOON);
    let log = program.log();
    assert_eq!(code, 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    log
}

#[test]
fn an_unknown_key_names_file_and_line() {
    let mut daemon = Daemon::new("[site]\nname = \"x\"\ncolour = \"red\"");
    let log = refusal(&mut daemon);
    assert!(
        log.contains("helpline.toml:") && log.contains("colour"),
        "{log}"
    );
}

#[test]
fn a_faulty_flow_names_file_line_and_column() {
    let flows = tempfile::tempdir().unwrap();
    let file = flows.path().join("main-menu.flow.yaml");
    fs::write(
        &file,
        "helpline: 1\nid: main-menu\nstart: hello\nprompts:\n  hi: { text: \"Hi.\" }\nnodes:\n  hello: { type: play, say: [ { prompt: hi } ], next: nowhere }\n",
    )
    .unwrap();
    let extra = format!("[ivr]\nflows = \"{}\"", flows.path().display());
    let log = refusal(&mut Daemon::new(&extra));
    assert!(log.contains("main-menu.flow.yaml:7:"), "{log}");
    assert!(log.contains("E101") && log.contains("nowhere"), "{log}");
    assert!(
        log.contains("E107") && log.contains("hi"),
        "the clip is missing too: {log}"
    );
}

#[test]
fn a_broken_prompt_names_its_file() {
    let prompts = tempfile::tempdir().unwrap();
    let locale = prompts.path().join("en-US");
    fs::create_dir(&locale).unwrap();
    fs::write(locale.join("goodbye.flac"), b"not audio").unwrap();
    let extra = format!("[ivr]\nprompts = \"{}\"", prompts.path().display());
    let log = refusal(&mut Daemon::new(&extra));
    assert!(log.contains("goodbye.flac"), "{log}");
}

#[test]
fn a_broken_template_names_its_file() {
    let templates = tempfile::tempdir().unwrap();
    fs::write(templates.path().join("ack.en.txt.hbs"), "{{#if x}").unwrap();
    let mut daemon = Daemon::new("");
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace(
        "[mail]\n",
        &format!("[mail]\ntemplates = \"{}\"\n", templates.path().display()),
    );
    fs::write(daemon.config_path(), text).unwrap();
    let log = refusal(&mut daemon);
    assert!(log.contains("ack.en.txt.hbs"), "{log}");
}

#[test]
fn a_taken_port_names_the_listener() {
    let mut daemon = Daemon::new("");
    let taken = TcpListener::bind(("127.0.0.1", daemon.http)).unwrap();
    let log = refusal(&mut daemon);
    assert!(
        log.contains("http.listen") && log.contains(&daemon.http.to_string()),
        "{log}"
    );
    drop(taken);
}

#[test]
fn a_second_daemon_on_one_folder_is_refused() {
    let mut first = Daemon::new("");
    first.start();
    let mut second = Daemon::new("");
    let text = fs::read_to_string(second.config_path()).unwrap();
    let own = format!("{}/data", second.dir.path().display());
    let others = format!("{}/data", first.dir.path().display());
    fs::write(second.config_path(), text.replace(&own, &others)).unwrap();
    let log = refusal(&mut second);
    assert!(log.contains("another helpline daemon"), "{log}");
    assert_eq!(first.stop(), 0, "{}", first.log());
}

#[test]
fn check_tells_what_serve_would_refuse() {
    let daemon = Daemon::new("[[queue]]\nname = \"Not A Name\"\ncalendar = \"none\"");
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_helpline"))
        .args(["check", "--config"])
        .arg(daemon.config_path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(
        text.contains("queue.name") && text.contains("queue.calendar"),
        "{text}"
    );
}

#[test]
fn an_unreachable_database_is_told_at_the_start() {
    let secrets = tempfile::tempdir().unwrap();
    let url = secrets.path().join("db-url");
    let port = crate::support::process::free_port();
    fs::write(&url, format!("postgres://helpline@127.0.0.1:{port}/none")).unwrap();
    let mut daemon = Daemon::new("");
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let text = text.replace(
        "[store]\n",
        &format!("[store]\npostgres_url_file = \"{}\"\n", url.display()),
    );
    fs::write(daemon.config_path(), text).unwrap();
    let log = refusal(&mut daemon);
    assert!(log.contains("store"), "{log}");
}
