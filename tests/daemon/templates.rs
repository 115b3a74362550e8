//! `helpline templates`: what an operator does who writes mails of their own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn templates(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_helpline"));
    command.arg("templates").args(words).output().unwrap()
}

fn said(words: &[&str]) -> String {
    let out = templates(words);
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {complaint}");
    String::from_utf8(out.stdout).unwrap()
}

fn complaint(words: &[&str]) -> String {
    let out = templates(words);
    assert_eq!(out.status.code(), Some(1), "{words:?}: {out:?}");
    String::from_utf8(out.stderr).unwrap()
}

/// A configuration whose templates are in the folder beside it.
fn config(dir: &Path) -> (String, String) {
    let (file, folder) = (dir.join("helpline.toml"), dir.join("own"));
    let folder = folder.display().to_string();
    fs::write(&file, format!("[mail]\ntemplates = {folder:?}\n")).unwrap();
    (file.display().to_string(), folder)
}

#[test]
fn built_in_mails_are_exported_changed_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let (config, own) = config(dir.path());
    let one = ["export", &own, "--kind", "ack", "--locale", "en"];
    assert!(said(&one).starts_with("2 templates are in "));
    fs::write(
        format!("{own}/ack.en.txt.hbs"),
        "Subject: Hello {{customer_name}}\n{{#if (eq estimate.kind \"closed\")}}We sleep until {{estimate.from}}.{{/if}}\n",
    )
    .unwrap();

    let refused = complaint(&["export", &own]);
    assert!(refused.contains("nothing was written"), "{refused}");
    assert!(!Path::new(&format!("{own}/closing.en.txt.hbs")).exists());

    let listed = said(&["list", "--json", "--config", &config]);
    let rows: Vec<Value> = listed
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let origin = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["origin"].as_str().unwrap().to_owned()
    };
    assert_eq!(origin("ack.en.txt.hbs"), "overridden");
    assert_eq!(origin("ack.de.txt.hbs"), "built-in");
    let table = said(&["list", "--config", &config]);
    assert_eq!(table.lines().count(), rows.len() + 1, "{table}");
    assert!(
        table.contains(&format!("overridden {own}/ack.en.txt.hbs")),
        "{table}"
    );

    let checked = said(&["check", "--config", &config]);
    assert!(checked.contains("in order, 2 of them yours"), "{checked}");
    let shown = said(&[
        "preview",
        "ack",
        "--estimate",
        "closed",
        "--name",
        "{{form_url}}",
        "--config",
        &config,
    ]);
    assert_eq!(
        shown,
        "Subject: Hello {{form_url}}\n\nWe sleep until 2026-11-03 08:00.\n"
    );

    said(&["export", &own, "--force"]);
    let shown = said(&["preview", "ack", "--config", &config]);
    assert!(shown.contains("We expect to call you between"), "{shown}");
}

#[test]
fn faults_of_own_mails_name_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let (config, own) = config(dir.path());
    fs::create_dir(&own).unwrap();
    let write = |name: &str, text: &str| fs::write(format!("{own}/{name}"), text).unwrap();
    write(
        "ack.en.txt.hbs",
        "Subject: x\n\n{{#if (eq reason \"y\")}}{{nobody}}{{/if}}\n",
    );
    write("ack.en.html.hbs", "<p>\n{{{customer_name}}}</p>");
    write("ack.fr.html.hbs", "<p></p>");
    write("closing.en.txt.hbs", "Subject: x\n{{#if missed}}");
    let all = complaint(&["check", &own]);
    for fault in [
        "ack.en.txt.hbs:3: there is no \"nobody\"",
        "ack.en.html.hbs:2: values must be escaped",
        "ack.fr.html.hbs:1: it is never used without ack.fr.txt.hbs",
        "closing.en.txt.hbs:",
    ] {
        assert!(all.contains(&format!("{own}/{fault}")), "{fault}: {all}");
    }
    // The daemon, `helpline check` and a preview hold to the same.
    let shown = complaint(&["preview", "closing", "--config", &config]);
    assert!(shown.contains("ack.en.txt.hbs:3: "), "{shown}");
    complaint(&["check", &format!("{own}/nowhere")]);
}

#[test]
fn a_preview_shows_what_would_be_sent() {
    let html = said(&[
        "preview", "ack", "--html", "--name", "<b>{{x}}", "--locale", "de",
    ]);
    assert!(
        html.contains("Guten Tag <bdi>&lt;b&gt;{{x}}</bdi>"),
        "{html}"
    );
    let out = templates(&[
        "preview",
        "needs_info",
        "--locale",
        "fr",
        "--reason",
        "no_phone",
    ]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("no templates in \"fr\""));
    assert!(String::from_utf8_lossy(&out.stdout).contains("we found no telephone number"));
    let out = templates(&["preview", "acknowledge"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
}
