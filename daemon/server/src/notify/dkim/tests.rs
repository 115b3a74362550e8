//! What we sign is verified as a receiver does it, by the key that DNS would give.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use helpline_core::request::email::Keys;
use helpline_core::time::Wall;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{
    AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize};

use super::*;
use crate::config::Dkim;
use crate::notify::mail::{Letterhead, Sound, compose};
use crate::notify::template::{KINDS, Templates};
use crate::store::outbox::{MailBody, OutboxRow};

/// Keys as DNS would give them.
struct Published(HashMap<Box<str>, Txt>);

impl ResolverCache<Box<str>, Txt> for Published {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

fn published(kind: &str, key: &[u8]) -> Published {
    let record = format!("v=DKIM1; k={kind}; p={}", data_encoding::BASE64.encode(key));
    let key = DomainKey::parse(record.as_bytes()).unwrap();
    let name = "h1._domainkey.help.example.".into();
    Published(HashMap::from([(name, key.into())]))
}

/// Results of the signatures of a mail.
async fn results(mail: &[u8], keys: &Published) -> Vec<DkimResult> {
    let reader = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default());
    let mail = AuthenticatedMessage::parse(mail).unwrap();
    let parameters = Parameters::new(&mail).with_txt_cache(keys);
    let output = reader.unwrap().verify_dkim(parameters).await;
    output.iter().map(|o| o.result().clone()).collect()
}

fn config(folder: &Path, key: &str) -> Config {
    let mut config = Config::default();
    config.site.name = "Söhne & Co".into();
    config.smtp.addresses = vec!["help@Help.example".into()];
    let key_file = folder.join("dkim.pem");
    std::fs::write(&key_file, key).unwrap();
    config.mail.dkim = Some(Dkim {
        selector: "h1".into(),
        key_file,
    });
    config
}

/// A mail of each kind and language, one of them with a sound.
fn mails(config: &Config) -> Vec<(String, Vec<u8>)> {
    let keys = Arc::new(Keys::new(&[7; 32], None));
    let from = Letterhead::new(config, "http://help.example", keys).unwrap();
    let templates = Templates::load(None).unwrap();
    let mut mails = Vec::new();
    for kind in KINDS {
        for locale in ["de", "en"] {
            let row = OutboxRow {
                id: "r1".into(),
                about: "r1".into(),
                kind: kind.into(),
                body: MailBody {
                    request_tag: Some("7KQ2-9F4M".into()),
                    customer_name: Some("Zoë".into()),
                    token: Some("tok".into()),
                    in_reply_to: Some("q@mail.example".into()),
                    references: (0..40).map(|n| format!("{n}.{n}@mail.example")).collect(),
                    ..MailBody::default()
                },
                locale: locale.into(),
                to_addr: "ada@example.org".into(),
                message_id: "r1.ack.abc@help.example".into(),
                is_unreachable: false,
                rendered: None,
                attempts: 1,
                epoch: 1,
            };
            let text = templates.render(&row, "Site", "http://h").unwrap();
            let sound = (kind == "voicemail").then(|| Sound {
                name: "take.wav".into(),
                bytes: vec![7; 50_000],
            });
            let now = Wall::from_millis(1_795_440_000_000);
            let mail = compose(&from, &row, &text, sound, now).unwrap();
            mails.push((format!("{kind}.{locale}"), mail));
        }
    }
    mails
}

#[tokio::test]
async fn every_kind_of_mail_verifies_with_each_kind_of_key() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ed = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let rsa_public = published("rsa", &rsa.subject_public_key_info());
    let ed_public = published("ed25519", ed.public_key_raw());
    // PKCS#1 is what lies inside of PKCS#8, behind 26 bytes that say it is RSA of 2048 bits.
    let inside = data_encoding::BASE64.encode(&rsa.serialize_der()[26..]);
    let old = format!("-----BEGIN RSA PRIVATE KEY-----\n{inside}\n-----END RSA PRIVATE KEY-----\n");
    let seed = data_encoding::BASE64.encode(&ed.serialize_der()[16..48]);
    for (what, key, keys) in [
        ("PKCS#8 RSA", rsa.serialize_pem(), &rsa_public),
        ("PKCS#1 RSA", old, &rsa_public),
        ("PKCS#8 Ed25519", ed.serialize_pem(), &ed_public),
        ("seed of Ed25519", seed + "\n", &ed_public),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, mail) in mails(&config(folder.path(), &key)) {
            assert!(mail.starts_with(b"DKIM-Signature: "), "{what}: {name}");
            let found = results(&mail, keys).await;
            assert_eq!(found, [DkimResult::Pass], "{what}: {name}");
            let long = mail.split(|c| *c == b'\n').any(|line| line.len() > 999);
            assert!(!long, "{what}: {name}");
        }
    }
}

#[tokio::test]
async fn what_was_changed_on_the_way_does_not_verify() {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let keys = published("ed25519", key.public_key_raw());
    let folder = tempfile::tempdir().unwrap();
    let (_, mail) = mails(&config(folder.path(), &key.serialize_pem())).remove(0);
    let mail = String::from_utf8(mail).unwrap();
    let (head, body) = mail.split_once("\r\n\r\n").unwrap();
    let covered = [
        "From:",
        "Reply-To:",
        "To:",
        "Date:",
        "Message-ID:",
        "Subject:",
        "In-Reply-To:",
        "References:",
        "Auto-Submitted:",
        "MIME-Version:",
        "Content-Type:",
    ];
    for name in covered {
        let at = head.find(&format!("\r\n{name}")).expect(name) + 2 + name.len();
        let changed = format!("{} x{}\r\n\r\n{body}", &head[..at], &head[at..]);
        let found = results(changed.as_bytes(), &keys).await;
        assert_ne!(found, [DkimResult::Pass], "{name} changed");
    }
    for put_in in [
        "From: evil@help.example",
        "Subject: x",
        "Reply-To: evil@evil.example",
        "Content-Type: text/html",
        "Cc: other@example.org",
    ] {
        for changed in [
            format!("{put_in}\r\n{mail}"),
            format!("{head}\r\n{put_in}\r\n\r\n{body}"),
        ] {
            let found = results(changed.as_bytes(), &keys).await;
            assert_ne!(found, [DkimResult::Pass], "{put_in} put in");
        }
    }
    let found = results(format!("{mail}more\r\n").as_bytes(), &keys).await;
    assert_ne!(found, [DkimResult::Pass], "body longer");
    let found = results(mail.replacen('a', "b", 1).as_bytes(), &keys).await;
    assert_ne!(found, [DkimResult::Pass], "signature itself");
}

#[test]
fn a_key_that_cannot_sign_is_told_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let nonsense = "MFQCAQACDwDxw+Ct1uYl7B8dJ9L7AgMBAAECDgt9VtOyIg1DI8hvBYGBAggA8Vb9";
    for (text, remedy) in [
        ("secret", "openssl genrsa 2048"),
        ("c2hvcnQ=", "32 bytes of Base64"),
        (
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----",
            "without a pass phrase",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----",
            "no private key",
        ),
        (
            &format!("-----BEGIN PRIVATE KEY-----\n{nonsense}\n-----END PRIVATE KEY-----"),
            "2048 bits or more",
        ),
    ] {
        let error = Signer::open(&config(folder.path(), text)).unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains(remedy), "{told}");
        assert!(told.contains("mail.dkim.key_file: "), "{told}");
        assert!(
            !told.contains(nonsense) && !told.contains("secret"),
            "{told}"
        );
    }
}

#[test]
fn nobody_signs_for_an_address_without_a_domain() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut config = config(folder.path(), &key.serialize_pem());
    let signer = Signer::open(&config).unwrap().unwrap();
    assert_eq!(signer.record(), "h1._domainkey.help.example");
    config.smtp.addresses.clear();
    let error = format!("{:#}", Signer::open(&config).unwrap_err());
    assert!(error.contains("smtp.addresses"), "{error}");
    config.mail.dkim = None;
    assert!(Signer::open(&config).unwrap().is_none());
}

#[test]
fn length_of_work_is_in_proportion() {
    // A relaxed signature must not fall over long headers.
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let signer = Signer::open(&config(folder.path(), &key.serialize_pem()));
    let folded = "\r\n x".repeat(100_000);
    let mail = format!("From: a@help.example\r\nReferences: x{folded}\r\n\r\nx\r\n");
    let begun = Instant::now();
    signer.unwrap().unwrap().sign(mail.as_bytes()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
}
