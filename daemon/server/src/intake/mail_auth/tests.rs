//! Checks against a name server on loopback, alone and in the whole pipeline.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use rcgen::{KeyPair, PKCS_ED25519};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::dns::{BROKEN, Dns, SILENT};
use super::*;
use crate::desk::Incoming;
use crate::desk::stage::{self, Stage};
use crate::intake::mail;
use crate::intake::smtp::{Protocol, Receiver};

/// A mail server that may send for everybody below.
const GOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// One that may not.
const BAD: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

const MAIL: &str = "From: Ada <ada@cust.test>\r\nTo: help@help.test\r\nSubject: Call\r\n\
                    Message-ID: <1@cust.test>\r\n\r\nPlease call me on 030 901820\r\n";

/// What tests of one key sign with.
struct Key(KeyPair);

impl Key {
    fn new() -> Key {
        Key(KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }

    fn record(&self) -> String {
        let key = data_encoding::BASE64.encode(self.0.public_key_raw());
        format!("v=DKIM1; k=ed25519; p={key}")
    }

    /// `mail` with a signature of `domain` in front.
    fn sign(&self, domain: &str, mail: &str, has_length: bool) -> String {
        let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(&self.0.serialize_der()).unwrap();
        let signer = DkimSigner::from_key(key)
            .domain(domain)
            .selector("s1")
            .headers(["From", "To", "Subject"])
            .body_length(has_length);
        signer.sign(mail.as_bytes()).unwrap().to_header() + mail
    }
}

fn config(dns: &Dns) -> Config {
    let mut config = stage::config();
    config.smtp.addresses = vec!["help@help.test".into()];
    config.mail.dns = Some(dns.address);
    config
}

fn authenticator(dns: &Dns) -> Arc<Authenticator> {
    let limits = Limits {
        query: Duration::from_millis(200),
        message: Duration::from_millis(1_500),
    };
    Authenticator::with_limits(&config(dns), limits).unwrap()
}

/// What a mail of `mail_from`, brought by `peer`, comes to.
async fn check(dns: &Dns, peer: IpAddr, mail_from: Option<&str>, mail: &str) -> Checked {
    let helo = "mx.cust.test".to_owned();
    let sender = Sender { peer, helo };
    let mail_from = mail_from.map(str::to_owned);
    let authenticator = authenticator(dns);
    let checking = authenticator.check(sender, mail_from, mail.into());
    let (raw, checked) = checking.await.unwrap();
    assert_eq!(raw, mail.as_bytes(), "the message comes back");
    checked
}

fn words(checked: &Checked) -> [&str; 3] {
    let auth = &checked.auth;
    [&auth.spf, &auth.dkim, &auth.dmarc]
}

const SPF: &str = "v=spf1 ip4:192.0.2.0/24 -all";

#[tokio::test]
async fn what_a_domain_publishes_decides() {
    let dns = Dns::serve(&[
        ("cust.test", SPF),
        ("mx.cust.test", SPF),
        ("_dmarc.cust.test", "v=DMARC1; p=reject"),
        ("soft.test", "v=spf1 ip4:192.0.2.0/24 ~all"),
        ("hard.test", SPF),
        ("broken.test", "v=spf1 include:soft.test include:"),
        ("other.test", SPF),
    ])
    .await;
    let of = |domain: &str| MAIL.replace("ada@cust.test", &format!("ada@{domain}"));
    for (peer, domain, mail_from, want, proof) in [
        (
            GOOD,
            "cust.test",
            Some("ada@cust.test"),
            ["pass", "none", "pass"],
            Proof::Pass,
        ),
        (
            BAD,
            "cust.test",
            Some("ada@cust.test"),
            ["fail", "none", "fail"],
            Proof::Fail,
        ),
        // The envelope is another domain's: it says nothing about the writer.
        (
            GOOD,
            "cust.test",
            Some("x@other.test"),
            ["pass", "none", "fail"],
            Proof::Fail,
        ),
        (
            GOOD,
            "cust.test",
            None,
            ["pass", "none", "pass"],
            Proof::Pass,
        ),
        (
            GOOD,
            "soft.test",
            Some("ada@soft.test"),
            ["pass", "none", "none"],
            Proof::None,
        ),
        (
            BAD,
            "soft.test",
            Some("ada@soft.test"),
            ["softfail", "none", "none"],
            Proof::None,
        ),
        (
            BAD,
            "hard.test",
            Some("ada@hard.test"),
            ["fail", "none", "none"],
            Proof::Fail,
        ),
        (
            BAD,
            "broken.test",
            Some("ada@broken.test"),
            ["permerror", "none", "none"],
            Proof::None,
        ),
        (
            BAD,
            "nothing.test",
            Some("ada@nothing.test"),
            ["none", "none", "none"],
            Proof::None,
        ),
        (
            BAD,
            "nothing.test",
            Some("nonsense"),
            ["fail", "none", "none"],
            Proof::Fail,
        ),
    ] {
        let checked = check(&dns, peer, mail_from, &of(domain)).await;
        assert_eq!(words(&checked), want, "{peer} {domain} {mail_from:?}");
        assert_eq!(checked.auth.proof(), proof, "{peer} {domain} {mail_from:?}");
        let unwanted = domain == "cust.test" && proof == Proof::Fail;
        assert_eq!(checked.is_unwanted, unwanted, "{peer} {domain}");
    }
}

#[tokio::test]
async fn a_signature_of_the_writers_domain_is_a_proof_and_no_other() {
    let key = Key::new();
    let record = key.record();
    let dns = Dns::serve(&[
        ("s1._domainkey.cust.test", &record),
        ("s1._domainkey.other.test", &record),
        ("s1._domainkey.strict.test", &record),
        ("_dmarc.strict.test", "v=DMARC1; p=none; adkim=s"),
    ])
    .await;
    let from = Some("bounce@list.test");
    let signed = key.sign("cust.test", MAIL, false);
    let checked = check(&dns, BAD, from, &signed).await;
    assert_eq!(words(&checked), ["none", "pass", "none"]);
    assert_eq!(checked.auth.proof(), Proof::Pass);
    let strange = check(&dns, BAD, from, &key.sign("other.test", MAIL, false)).await;
    assert_eq!(words(&strange), ["none", "pass", "none"]);
    assert_eq!(strange.auth.proof(), Proof::None, "somebody else signs");
    let changed = signed.replace("030 901820", "030 666666");
    let changed = check(&dns, BAD, from, &changed).await;
    assert_eq!(words(&changed), ["none", "neutral", "none"]);
    let changed = check(
        &dns,
        BAD,
        from,
        &signed.replace("Subject: Call", "Subject: No"),
    )
    .await;
    assert_eq!(words(&changed), ["none", "fail", "none"]);
    assert_eq!(changed.auth.proof(), Proof::None);
    // Strict alignment is the domain's own wish, and counts more than our kindness.
    let below = MAIL.replace("ada@cust.test", "ada@mail.strict.test");
    let below = check(&dns, BAD, from, &key.sign("strict.test", &below, false)).await;
    assert_eq!(words(&below), ["none", "pass", "fail"]);
    assert_eq!(below.auth.proof(), Proof::Fail);
}

#[tokio::test]
async fn text_under_a_signature_with_a_length_is_not_signed() {
    let key = Key::new();
    let record = key.record();
    let dns = Dns::serve(&[("s1._domainkey.cust.test", &record)]).await;
    let mail = key.sign("cust.test", MAIL, true);
    let longer = mail.clone() + "Call 0900 1234567 instead\r\n";
    for text in [mail, longer] {
        let checked = check(&dns, BAD, Some("a@b.test"), &text).await;
        assert_eq!(words(&checked), ["none", "neutral", "none"]);
        assert_eq!(checked.auth.proof(), Proof::None);
    }
}

#[tokio::test]
async fn several_writers_are_none() {
    let key = Key::new();
    let record = key.record();
    let dns = Dns::serve(&[
        ("cust.test", SPF),
        ("s1._domainkey.cust.test", &record),
        ("_dmarc.cust.test", "v=DMARC1; p=reject"),
    ])
    .await;
    let signed = key.sign("cust.test", MAIL, false);
    let list = MAIL.replace("Ada <ada@cust.test>", "ada@cust.test, eve@evil.test");
    for mail in [
        format!("From: eve@evil.test\r\n{signed}"),
        format!("From: ada@cust.test\r\n{signed}"),
        format!("FROM : eve@evil.test\r\n{signed}"),
        key.sign("cust.test", &list, false),
    ] {
        let checked = check(&dns, GOOD, Some("ada@cust.test"), &mail).await;
        assert_eq!(checked.auth.proof(), Proof::Fail, "{mail}");
    }
}

#[tokio::test]
async fn a_silent_or_broken_server_decides_nothing_and_costs_a_bounded_time() {
    let key = Key::new();
    for word in [SILENT, BROKEN] {
        let dns = Dns::serve(&[
            ("cust.test", word),
            ("_dmarc.cust.test", word),
            ("s1._domainkey.cust.test", word),
        ])
        .await;
        let mut mail = MAIL.to_owned();
        for _ in 0..100 {
            mail = key.sign("cust.test", &mail, false);
        }
        let begun = Instant::now();
        let checked = check(&dns, GOOD, Some("ada@cust.test"), &mail).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{word}");
        assert_eq!(checked.auth.proof(), Proof::TempError, "{word}");
        assert!(!checked.is_unwanted);
        // Of a hundred signatures ten are looked at, twice each.
        assert!(dns.asked() < 40, "{word}: {} questions", dns.asked());
    }
}

#[tokio::test]
async fn answers_are_kept_and_nonsense_breaks_nothing() {
    let dns = Dns::serve(&[("cust.test", SPF)]).await;
    let authenticator = authenticator(&dns);
    let mut asked = Vec::new();
    for _ in 0..2 {
        let helo = "mx.cust.test".to_owned();
        let sender = Sender { peer: GOOD, helo };
        let from = Some("ada@cust.test".to_owned());
        let (_, checked) = authenticator
            .check(sender, from, MAIL.into())
            .await
            .unwrap();
        assert_eq!(checked.auth.spf, "pass");
        asked.push(dns.asked());
    }
    assert_eq!(asked[0], asked[1], "the second time nothing is asked");
    for mail in [
        "",
        "\r\n\r\n",
        "no header at all",
        "From:\r\n\r\n",
        "DKIM-Signature: v=1; a=rsa-sha256; b=\0\u{fffd}; bh=;;;; h=from::\r\n\r\n",
        "DKIM-Signature:\r\nFrom: <>\r\n\r\n",
    ] {
        for from in [None, Some(""), Some("@"), Some("a@\u{0}"), Some("a@..")] {
            let checked = check(&dns, BAD, from, mail).await;
            assert_ne!(checked.auth.proof(), Proof::Pass, "{mail:?} {from:?}");
        }
    }
}

/// Speaks SMTP to the receiver; the reply to the message.
async fn send(address: SocketAddr, from: &str, mail: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let talk = format!(
        "EHLO mx.cust.test\r\nMAIL FROM:<{from}>\r\nRCPT TO:<help@help.test>\r\nDATA\r\n{mail}.\r\nQUIT\r\n"
    );
    stream.write_all(talk.as_bytes()).await.unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).await.unwrap();
    let after = replies.split_once("354 ").unwrap().1;
    after.lines().nth(1).unwrap().to_owned()
}

/// Kind, results and number of letters of what was filed, once `count` are.
async fn filed(stage: &Stage, count: usize) -> Vec<[String; 3]> {
    for _ in 0..1_000 {
        let rows = stage
            .rows::<3>(
                "select kind, coalesce(auth, ''), cast((select count(*) from outbox o
                   where o.about = mail_in.request_id) as text)
                 from mail_in where state = 'done' order by created_at, id",
            )
            .await;
        if rows.len() >= count {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not filed in time");
}

#[tokio::test]
async fn mail_by_smtp_is_checked_and_a_forged_header_is_not_believed() {
    let dns = Dns::serve(&[
        ("cust.test", "v=spf1 ip4:127.0.0.1 -all"),
        ("_dmarc.cust.test", "v=DMARC1; p=none"),
        ("forged.test", "v=spf1 -all"),
        ("refused.test", "v=spf1 -all"),
        ("_dmarc.refused.test", "v=DMARC1; p=reject"),
    ])
    .await;
    let mut config = config(&dns);
    config.mail.relays = Vec::new();
    config.mail.authserv_ids = vec!["mx.help.test".into()];
    config.mail.reject_dmarc_fail = true;
    let stage = Stage::new(config.clone()).await;
    let (desk, clock) = (Arc::clone(&stage.desk), stage.clock.clone());
    let authenticator = authenticator_of(&config);
    let gate = Some(Arc::clone(&authenticator));
    let receiver = Receiver::new(&config.smtp, Protocol::Smtp, Arc::clone(&desk), clock, gate);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(receiver.unwrap().serve(listener, stop.clone()));
    let asked = Some(Arc::clone(&authenticator));
    let working = tokio::spawn(mail::work(desk, Arc::new(config), asked, stop.clone()));
    let kept = send(address, "ada@cust.test", MAIL).await;
    assert!(kept.starts_with("250 2.0.0"), "{kept}");
    filed(&stage, 1).await;
    let forged = MAIL
        .replace("cust.test", "forged.test")
        .replace("901820", "901821");
    let forged = format!("Authentication-Results: mx.help.test; dmarc=pass\r\n{forged}");
    let kept = send(address, "ada@forged.test", &forged).await;
    assert!(kept.starts_with("250 2.0.0"), "{kept}");
    let refused = MAIL.replace("cust.test", "refused.test");
    let refused = send(address, "ada@refused.test", &refused).await;
    assert_eq!(refused, "550 5.7.1 Not taken");
    let rows = filed(&stage, 2).await;
    assert_eq!((&*rows[0][0], &*rows[0][2]), ("request", "1"), "answered");
    assert!(rows[0][1].contains("\"dmarc\":\"pass\""), "{rows:?}");
    assert!(rows[0][1].contains("\"method\":\"dns\""), "{rows:?}");
    assert!(rows[1][1].contains("\"spf\":\"fail\""), "{rows:?}");
    assert_eq!(rows[1][2], "0", "what may be forged is not answered");
    let counts = authenticator.counts();
    assert_eq!(
        counts,
        [("pass", 1), ("none", 0), ("fail", 2), ("temperror", 0)]
    );
    stop.cancel();
    serving.await.unwrap();
    working.await.unwrap();
}

#[tokio::test]
async fn a_message_that_waits_for_dns_keeps_no_other_waiting() {
    let dns = Dns::serve(&[("cust.test", SILENT), ("_dmarc.cust.test", SILENT)]).await;
    let mut config = config(&dns);
    config.mail.relays = Vec::new();
    let stage = Stage::new(config.clone()).await;
    let limits = Limits {
        query: Duration::from_secs(4),
        message: Duration::from_secs(4),
    };
    let asked = Authenticator::with_limits(&config, limits).unwrap();
    for n in 0..40 {
        let mail = MAIL.replace("901820", &format!("9018{n:02}"));
        let handed = n == 39;
        let incoming = Incoming {
            is_handed: handed,
            peer: GOOD,
            helo: "mx.cust.test".into(),
            auth_user: None,
            mail_from: Some("ada@cust.test".into()),
            rcpt: vec!["help@help.test".into()],
            raw: mail.into_bytes(),
        };
        stage.desk.spool_mail(incoming).await.unwrap();
    }
    let stop = CancellationToken::new();
    let (desk, gate) = (Arc::clone(&stage.desk), Some(Arc::clone(&asked)));
    let working = tokio::spawn(mail::work(desk, Arc::new(config), gate, stop.clone()));
    let rows = filed(&stage, 1).await;
    let last = ["request", "", "1"].map(str::to_owned);
    assert_eq!(rows, [last], "the last one, and it alone");
    let rows = filed(&stage, 40).await;
    let unknown = |row: &&[String; 3]| row[1].contains("temperror") && row[2] == "0";
    assert_eq!(rows.iter().filter(unknown).count(), 39, "not answered");
    assert_eq!(asked.counts()[3], ("temperror", 39));
    stop.cancel();
    working.await.unwrap();
}

fn authenticator_of(config: &Config) -> Arc<Authenticator> {
    Authenticator::new(config).unwrap().unwrap()
}

#[tokio::test]
async fn relays_and_a_switch_turn_it_off() {
    let dns = Dns::serve(&[]).await;
    let mut config = config(&dns);
    let checks = authenticator_of(&config);
    for (peer, concerned) in [
        ("127.0.0.1", false),
        ("::1", false),
        ("10.1.2.3", false),
        ("192.168.1.1", false),
        ("fd00::1", false),
        ("::ffff:10.0.0.1", false),
        ("192.0.2.1", true),
        ("2001:db8::1", true),
    ] {
        assert_eq!(checks.concerns(peer.parse().unwrap()), concerned, "{peer}");
    }
    config.mail.relays = vec!["192.0.2.0/24".into()];
    let checks = authenticator_of(&config);
    assert!(!checks.concerns(GOOD) && checks.concerns("127.0.0.1".parse().unwrap()));
    config.mail.authenticate = false;
    assert!(Authenticator::new(&config).unwrap().is_none());
}
