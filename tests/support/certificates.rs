//! Certificates for peers on loopback.

use std::path::Path;

/// Certificates for 127.0.0.1 in `dir`: `ca.pem`, `cert.pem`, `key.pem`, and both of the
/// latter in `both.pem`.
pub(crate) fn make_certificates(dir: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    let (own, key) = (own.pem(), key.serialize_pem());
    for (name, text) in [
        ("ca.pem", root.pem()),
        ("both.pem", own.clone() + &key),
        ("cert.pem", own),
        ("key.pem", key),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
}
