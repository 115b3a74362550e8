//! The customers' mailbox of the demo: the folder the daemon writes its mail to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

/// Waits for a mail to `address`; its text part.
pub(super) async fn wait_for(
    folder: &Path,
    address: &str,
    patience: Duration,
) -> anyhow::Result<String> {
    let end = tokio::time::Instant::now() + patience;
    while tokio::time::Instant::now() < end {
        for path in mails(folder) {
            let Ok(raw) = std::fs::read(&path) else {
                continue;
            };
            if let Some(text) = text_for(&raw, address) {
                return Ok(text);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no reply to {address} within {patience:?}")
}

/// The link to a status page in a reply.
pub(super) fn status_link(text: &str) -> Option<String> {
    text.split_whitespace()
        .find(|word| word.starts_with("http") && word.contains("/s/"))
        .map(|word| word.trim_end_matches(['.', ',', '>', ')']).to_owned())
}

fn mails(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new(); // nothing was sent yet
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "eml"))
        .collect()
}

/// Subject and text of a mail, if it is to `address`.
fn text_for(raw: &[u8], address: &str) -> Option<String> {
    let mail = mail_parser::MessageParser::default().parse(raw)?;
    let to = mail.to()?.first()?.address()?;
    if to != address {
        return None;
    }
    let subject = mail.subject().unwrap_or_default();
    Some(format!(
        "Subject: {subject}\n\n{}",
        mail.body_text(0)?.trim_end()
    ))
}
