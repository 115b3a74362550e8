//! Our mail is signed (DKIM, RFC 6376), so that receivers can tell it from what others write
//! in our name. What is signed are the bytes that are stored and sent in every try.

use std::path::Path;

use anyhow::{Context, bail};
use data_encoding::BASE64_MIME_PERMISSIVE as BASE64;
use helpline_core::request::email::address_key;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{DkimSigner, Done};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Config, read_secret};

/// What a signature covers. A name that stands here once more than in the mail also covers
/// that no further header of this name is put in (RFC 6376 section 8.15); one that the mail
/// has not, that it is not added.
const HEADERS: [&str; 18] = [
    "From",
    "From",
    "To",
    "To",
    "Cc",
    "Subject",
    "Subject",
    "Date",
    "Date",
    "Reply-To",
    "Reply-To",
    "Message-ID",
    "In-Reply-To",
    "References",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
    "Content-Type",
];
/// A key of Ed25519 without the public half (RFC 8410 section 7): these bytes, then the seed.
const ED25519_SEED: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Signs our mail.
pub struct Signer {
    signer: DkimSigner<DkimKey, Done>,
    record: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// The signer of `[mail.dkim]`; `None` without that table. It signs for the domain of the
    /// address that writes.
    ///
    /// # Errors
    /// The key file cannot be read or holds no usable key; the first address has no domain.
    pub fn open(config: &Config) -> anyhow::Result<Option<Signer>> {
        let Some(dkim) = &config.mail.dkim else {
            return Ok(None);
        };
        let address = config.smtp.addresses.first().map(String::as_str);
        let (_, domain) = address
            .and_then(address_key)
            .context("mail.dkim: smtp.addresses names no address to sign for")?;
        let key = read_key(&dkim.key_file)
            .with_context(|| format!("mail.dkim.key_file: {}", dkim.key_file.display()))?;
        let record = format!("{}._domainkey.{domain}", dkim.selector);
        let signer = DkimSigner::from_key(key)
            .domain(domain)
            .selector(dkim.selector.as_str())
            .headers(HEADERS);
        Ok(Some(Signer { signer, record }))
    }

    /// Name of the TXT record in which receivers look for the public key.
    #[must_use]
    pub fn record(&self) -> &str {
        &self.record
    }

    /// The mail with its signature in front.
    ///
    /// # Errors
    /// The mail has no headers, or the library gives up.
    pub fn sign(&self, mail: &[u8]) -> anyhow::Result<Vec<u8>> {
        let signature = self.signer.sign(mail);
        let signature = signature.map_err(|error| anyhow::anyhow!("mail not signed: {error}"))?;
        let mut signed = signature.to_header().into_bytes();
        signed.extend_from_slice(mail);
        Ok(signed)
    }
}

/// A key as `openssl genrsa` or `openssl genpkey` writes it, or the seed of Ed25519 in Base64.
fn read_key(file: &Path) -> anyhow::Result<DkimKey> {
    let text = read_secret(file)?;
    if !text.contains("-----BEGIN") {
        return seed_key(&text);
    }
    if text.contains("ENCRYPTED") {
        bail!("the key is encrypted; write it without a pass phrase: openssl pkey -in FILE");
    }
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| anyhow::anyhow!("no private key; make one with: openssl genrsa 2048"))?;
    if let PrivateKeyDer::Pkcs8(der) = &der
        && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der())
    {
        return Ok(key.into());
    }
    let rsa = RsaKey::<Sha256>::from_key_der(der);
    rsa.map(DkimKey::from).map_err(|_| {
        anyhow::anyhow!(
            "neither an RSA key of 2048 bits or more nor one of Ed25519; make one with: \
             openssl genrsa 2048"
        )
    })
}

fn seed_key(text: &str) -> anyhow::Result<DkimKey> {
    let seed = BASE64.decode(text.as_bytes()).unwrap_or_default();
    if seed.len() != 32 {
        bail!("no key; write it as PEM (openssl genrsa 2048), or 32 bytes of Base64 for Ed25519");
    }
    let der = [&ED25519_SEED[..], &seed].concat();
    let key = Ed25519Key::from_pkcs8_maybe_unchecked_der(&der);
    let key = key.map_err(|error| anyhow::anyhow!("no Ed25519 key: {error}"))?;
    Ok(key.into())
}

#[cfg(test)]
mod tests;
