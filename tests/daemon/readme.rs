//! What README.md tells people to type.

use std::process::Command;
use std::time::Duration;

use crate::support::process::Daemon;

const README: &str = include_str!("../../README.md");

/// The fenced block of the README that contains `part`.
fn block(part: &str) -> &'static str {
    let mut blocks = README.split("```").skip(1).step_by(2);
    blocks
        .find(|block| block.contains(part))
        .unwrap_or_else(|| panic!("README.md has no block with {part}"))
        .split_once('\n')
        .unwrap()
        .1
}

#[test]
fn the_curl_line_of_the_readme_is_answered_with_place_and_page() {
    let mut daemon = Daemon::new("");
    daemon.start();
    let line =
        block("/api/requests").replace("127.0.0.1:8080", &format!("127.0.0.1:{}", daemon.http));
    assert!(line.contains(&daemon.http.to_string()), "{line}");
    let run = || {
        let out = Command::new("sh")
            .args(["-c", &line.replace("curl ", "curl -m 10 ")])
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    };
    let first = run();
    let answer: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(answer["position"], 1, "{first}");
    assert!(answer["status_url"].as_str().unwrap().contains("/s/"));
    assert!(answer["estimate"]["text"].is_string(), "{first}");
    // Its Idempotency-Key makes a second run the same request.
    assert_eq!(run(), first);
    let sql = "select number, email, page from request";
    assert_eq!(
        daemon.rows(sql),
        [[
            "+493023125001",
            "ada@shop.example",
            "https://shop.example/basket"
        ]]
    );
    daemon.wait_row(
        "select count(*) from outbox where state = 'sent'",
        "1",
        Duration::from_secs(10),
    );
}
