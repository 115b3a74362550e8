//! A mail client on a raw socket: one message, and what the receiver said.

use std::io::{BufRead as _, BufReader, Error, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Sends `message` (headers and body, CRLF) from `from`; the reply to the end of DATA, or
/// the first reply that is a refusal.
///
/// # Errors
/// The connection broke before that reply: whether the message was taken is unknown.
pub(crate) fn deliver(port: u16, from: &str, message: &str) -> std::io::Result<String> {
    deliver_to(port, from, "help@help.test", message)
}

/// The same, for another recipient.
pub(crate) fn deliver_to(
    port: u16,
    from: &str,
    to: &str,
    message: &str,
) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut reply = hear(&mut replies)?;
    for line in [
        "EHLO peer.test".to_owned(),
        format!("MAIL FROM:<{from}>"),
        format!("RCPT TO:<{to}>"),
        "DATA".to_owned(),
        format!("{message}\r\n."),
    ] {
        if !reply.starts_with(['2', '3']) {
            return Ok(reply);
        }
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        reply = hear(&mut replies)?;
    }
    Ok(reply)
}

/// The last line of a reply.
fn hear(replies: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if replies.read_line(&mut line)? == 0 {
            return Err(Error::other("the receiver hung up"));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

/// A message of a person who asks for a call to `number`.
pub(crate) fn asking(from: &str, number: &str) -> String {
    format!(
        "From: <{from}>\r\nTo: <help@help.test>\r\nSubject: Please call\r\n\
         Message-ID: <{}@peer.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\
         Hello, please call me on {number}.",
        number.trim_start_matches('+')
    )
}
