//! Postfix's own test client. Its program is enough: `tests/run` unpacks the package without
//! installing a mail server, and names the folder in `HELPLINE_TEST_POSTFIX`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// smtp-source, which sends `message` (lines that end in LF) `count` times over ten connections
/// at once, one for each message, and writes down what it hears.
pub(crate) fn smtp_source(port: u16, message: &Path, count: u32) -> Command {
    let unpacked = std::env::var_os("HELPLINE_TEST_POSTFIX");
    let root = unpacked.map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let mut command = Command::new(root.join("usr/sbin/smtp-source"));
    command
        .env("LD_LIBRARY_PATH", root.join("usr/lib/postfix"))
        .args(["-v", "-s", "10", "-f", "ada@cust.test"])
        .args(["-t", "help@help.test", "-m", &count.to_string()])
        .arg("-F")
        .arg(message)
        .arg(format!("127.0.0.1:{port}"));
    command
}
