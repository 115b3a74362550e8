//! Demanding digest authentication of a caller, as the test phone does to prove that
//! the engine answers challenges. One nonce for the life of a phone, its count is 1.

use helpline_core::sip::digest::{self, Algorithm};
use rsipstack::dialog::authenticate::compute_digest;
use rsipstack::sip::headers::auth;
use rsipstack::sip::headers::untyped::{ProxyAuthenticate, WwwAuthenticate};
use rsipstack::sip::{Header, Request};

/// What a caller has to prove.
#[derive(Clone, Debug)]
pub(in crate::voice) struct Demand {
    /// User name.
    pub(in crate::voice) username: String,
    /// Password.
    pub(in crate::voice) password: String,
    /// Realm.
    pub(in crate::voice) realm: String,
    /// 407 instead of 401.
    pub(in crate::voice) proxy: bool,
    /// Algorithms offered, one challenge each.
    pub(in crate::voice) algorithms: Vec<Algorithm>,
    /// The nonce.
    pub(in crate::voice) nonce: String,
}

impl Demand {
    /// Status code of the challenge.
    pub(super) fn code(&self) -> u16 {
        if self.proxy { 407 } else { 401 }
    }

    /// The challenge header fields. The list of `qop` has two words on purpose.
    pub(super) fn challenges(&self) -> Vec<Header> {
        let one = |algorithm: &Algorithm| {
            let (realm, nonce) = (&self.realm, &self.nonce);
            let name = algorithm.wire();
            let text = format!(
                "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={name}, qop=\"auth,auth-int\""
            );
            if self.proxy {
                Header::ProxyAuthenticate(ProxyAuthenticate::new(text))
            } else {
                Header::WwwAuthenticate(WwwAuthenticate::new(text))
            }
        };
        self.algorithms.iter().map(one).collect()
    }

    /// Whether the request proves knowledge of the password.
    pub(super) fn is_met(&self, request: &Request) -> bool {
        request.headers.iter().any(|h| match (h, self.proxy) {
            (Header::ProxyAuthorization(h), true) => self.proves(h.value(), request),
            (Header::Authorization(h), false) => self.proves(h.value(), request),
            _ => false,
        })
    }

    fn proves(&self, value: &str, request: &Request) -> bool {
        let Some(given) = digest::parameters(value) else {
            return false;
        };
        let get = |name| digest::parameter(&given, name).unwrap_or_default();
        let algorithm = match get("algorithm") {
            "SHA-256" => (Algorithm::Sha256, auth::Algorithm::Sha256),
            "MD5" | "" => (Algorithm::Md5, auth::Algorithm::Md5),
            _ => return false,
        };
        // Unquoted on the wire: this is what RFC 7616 wants and some servers insist on.
        let plain = value.split(',').any(|p| p.trim() == "qop=auth");
        let (cnonce, nc) = (get("cnonce").to_owned(), 1);
        let expected = compute_digest(
            &self.username,
            &self.password,
            &self.realm,
            &self.nonce,
            &request.method,
            get("uri"),
            algorithm.1,
            Some(&auth::AuthQop::Auth { cnonce, nc }),
        );
        plain
            && self.algorithms.contains(&algorithm.0)
            && get("username") == self.username
            && get("realm") == self.realm
            && get("nonce") == self.nonce
            && get("nc") == "00000001"
            && get("uri") == request.uri.to_string()
            && get("response") == expected
    }
}
