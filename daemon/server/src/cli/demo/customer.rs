//! The two customers of the demo: one writes a mail, one fills in the form.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::cli::client::{get, post};

/// A customer of the demo. The numbers are of a range that a regulator keeps for stories.
pub(super) struct Customer {
    pub(super) name: &'static str,
    pub(super) email: &'static str,
    pub(super) number: &'static str,
    pub(super) page: &'static str,
}

/// Sends a mail to the daemon's SMTP receiver; returns its answer to the message.
pub(super) async fn write_mail(
    customer: &Customer,
    smtp: SocketAddr,
    to: &str,
) -> anyhow::Result<String> {
    let from: Mailbox = format!("{} <{}>", customer.name, customer.email).parse()?;
    let mail = Message::builder()
        .from(from)
        .to(to.parse()?)
        .subject("The coupon does not work")
        .message_id(None)
        .body(format!(
            "Hello,\n\nthe coupon field on {} says \"expired\".\nPlease call me on {}.\n\n-- \n{}\n",
            customer.page, customer.number, customer.name
        ))?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.ip().to_string())
        .port(smtp.port())
        .timeout(Some(Duration::from_secs(10)))
        .build();
    let answer = transport
        .send(mail)
        .await
        .context("the mail was not taken")?;
    let words: Vec<&str> = answer.message().collect();
    Ok(format!("{} {}", answer.code(), words.join(" ")))
}

/// Opens the form as a browser would after a click on the shop's page, and sends it.
/// Returns the address of the status page.
pub(super) async fn fill_in_form(customer: &Customer, base: &str) -> anyhow::Result<String> {
    let page = urlencode(customer.page);
    let form = get(&format!("{base}/help?page={page}&lang=en")).await?;
    ensure!(form.status == 200, "GET /help answered {}", form.status);
    let html = form.text();
    ensure!(
        html.contains("shop.example"),
        "the form does not show the page the customer came from"
    );
    // A form filled in faster than a person can is taken for a machine.
    tokio::time::sleep(Duration::from_millis(3_200)).await;
    let mut body = hidden_fields(&html);
    for (name, value) in [
        ("phone", customer.number),
        ("name", customer.name),
        ("email", customer.email),
        ("note", "Where is my parcel?"),
        ("when", "now"),
        ("consent", "1"),
    ] {
        body.retain(|(field, _)| field != name);
        body.push((name.to_owned(), value.to_owned()));
    }
    let body: Vec<String> = body
        .iter()
        .map(|(name, value)| format!("{}={}", urlencode(name), urlencode(value)))
        .collect();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", base),
        ("sec-fetch-site", "same-origin"),
    ];
    let answer = post(&format!("{base}/help"), &headers, body.join("&")).await?;
    ensure!(
        answer.status == 303,
        "POST /help answered {}: {}",
        answer.status,
        answer.text()
    );
    let place = answer
        .header("location")
        .context("no address of a status page")?;
    Ok(if place.starts_with('/') {
        format!("{base}{place}")
    } else {
        place.to_owned()
    })
}

/// Name and value of every hidden field.
fn hidden_fields(html: &str) -> Vec<(String, String)> {
    let inputs = html.split("<input").skip(1);
    inputs
        .filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag))
        .filter(|tag| tag.contains("type=\"hidden\""))
        .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value")?)))
        .collect()
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&#x3D;", "=").replace("&amp;", "&"))
}

fn urlencode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
